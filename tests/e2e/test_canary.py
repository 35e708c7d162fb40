"""What parties keep secret appears nowhere that a host can look, in any rendering that the scanner knows.

Six markers are planted: in images and in a column of the training data, in a constant and in a comment of the
provider's code, in the weights, and in a query. One job trains with them and one query is asked. The answer shows that
they really went all the way; the planted leaks show that the host was really looking.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import granting, user
from client.digits import DigitsFiles
from client.scheduling import ScheduleWishes
from common.messages.signed import Signed
from tests.e2e.conftest import MakeParty, RunningStack, publish, register, train
from tests.e2e.hidden_words import HiddenWords
from tests.e2e.host_surfaces import Host, Surface
from tests.security.canary import Hit, Scanner, planted

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WISHES = ScheduleWishes(rounds=1, steps=4, batch=16, tick_milliseconds=100, slack_percent=300, warmup_seconds=8)
KINDS = ("raw", "hex", "base64+1", "zlib", "fp32", "bf16", "fragment", "gzip", "base64url", "HEX")

TAP_SECONDS = 5.0


@dataclass(frozen=True)
class Heard:
    """What a host heard of a job and a query, surface by surface, before any leak was planted."""

    words: HiddenWords
    answer: list[float]
    host: Host
    surfaces: list[Surface]
    taken: dict[str, list[tuple[str, bytes]]]


@pytest.fixture(scope="module")
def heard(
    stack: RunningStack, make_party: MakeParty, digits: DigitsFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Heard]:
    """One job and one query, with hidden words in all that is secret."""
    words, home = HiddenWords(), tmp_path_factory.mktemp("canary")
    with Host.watching(stack.stack, tmp_path_factory.getbasetemp()) as host:
        answer = _train_and_ask(words, make_party, digits, home)
        surfaces = host.surfaces()
        yield Heard(words, answer, host, surfaces, {one.name: list(one.look()) for one in surfaces})


def _train_and_ask(words: HiddenWords, make_party: MakeParty, digits: DigitsFiles, home: Path) -> list[float]:
    """The scores of the marked query."""
    published = publish(make_party("provider"), words.write_bundle(home / "code"), home / "bundle")
    registered = register(make_party("owner"), published, words.write_data(digits, home / "data.npz"), home / "sealed")
    told = train(registered, published, WISHES)
    model = told[-1]
    assert isinstance(model, e.ModelSealed)
    assert model.outcome == "finished", told[-3:]
    asker, grant = make_party("user"), home / "grant.json"
    terms = granting.GrantTerms(answers=16)
    asked_by = asker.identity.signing_key.party
    e.outcome(granting.grant(registered.party, asked_by, model.model_id, terms, grant), e.GrantSigned)
    scores = user.open_session(asker, Signed.decode(grant.read_bytes())).ask(words.image("query")[np.newaxis]).scores
    assert scores is not None
    return [float(one) for one in scores[0]]


def scan(words: dict[str, bytes], places: list[tuple[str, bytes]]) -> list[tuple[str, Hit]]:
    scanner = Scanner(words)
    return [(place, hit) for place, content in places for hit in scanner.scan(content)]


def test_the_words_went_all_the_way(heard: Heard) -> None:
    """Through training and averaging over two trainers, the sealed model and the query enclave, to the user alone."""
    assert heard.answer == [float(byte) for byte in heard.words.weights[: len(heard.answer)]]


def test_a_host_hears_none_of_them(heard: Heard) -> None:
    sizes = {name: sum(len(content) for _, content in places) for name, places in heard.taken.items()}
    sys.stdout.write("".join(f"{size:>12,} bytes: {name}\n" for name, size in sizes.items()))
    unseen = [name for name, size in sizes.items() if not size]
    assert unseen in ([], ["new files in temporary directories"])
    hits = {name: scan(heard.words.by_name(), places) for name, places in heard.taken.items()}
    assert {name: found for name, found in hits.items() if found} == {}


def test_every_surface_shows_a_leak_that_is_there(heard: Heard) -> None:
    """Each with a marker of its own, in one of the renderings."""
    missed = []
    for number, surface in enumerate(heard.surfaces):
        word = HiddenWords().pixels
        before = {content for _, content in heard.taken[surface.name]}
        with surface.plant(planted(word, KINDS[number % len(KINDS)])):
            if not _is_found(word, surface, before):
                missed.append((surface.name, KINDS[number % len(KINDS)]))
    assert not missed


def _is_found(word: bytes, surface: Surface, before: set[bytes]) -> bool:
    """Whether a look at what is new finds the word; taps hear of it a moment later."""
    give_up = time.monotonic() + TAP_SECONDS
    while time.monotonic() < give_up:
        if scan({"planted": word}, [(place, content) for place, content in surface.look() if content not in before]):
            return True
        time.sleep(0.05)
    return False
