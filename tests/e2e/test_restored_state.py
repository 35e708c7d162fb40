"""The rehearsal: a stack's state is copied while it works, and comes up elsewhere; an older copy revives nothing.

In life the witness is elsewhere, and remembers; here its memory is carried to the other stack by hand. The stack that
all tests share stays as it is.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from client import events as e
from client import granting, user
from client.context import Party
from client.stack_access import endpoints_of
from common.errors import CloisterError, PolicyError
from common.identifiers import GrantId
from common.messages.signed import Signed
from deploy.embedded.stack import EmbeddedStack
from tests.e2e.command_process import cloister, start
from tests.e2e.conftest import Finished, MakeParty, RunningStack, let_ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 90.0
START_SECONDS = 240.0
ANSWERS = 300
"""More than a query enclave draws at once (64)."""


@dataclass(frozen=True)
class Elsewhere:
    """Another state directory of the same machine, and the parties as they meet the stack there."""

    stack: EmbeddedStack
    parties: Path

    @property
    def state(self) -> Path:
        return self.stack.state.root

    def party(self, name: str) -> Party:
        return Party(self.parties / name, endpoints_of(self.stack.status()))

    def start(self) -> None:
        self.stack.start()
        self.stack.wait_ready(seconds=START_SECONDS)

    def back_up(self, name: str) -> Path:
        copy = self.parties / name
        cloister("backup", copy, "--state", self.state)
        return copy

    def put_back(self, copy: Path) -> None:
        cloister("restore", copy, "--over-newer", "--state", self.state)

    def waiting_for(self, service: str) -> list[str]:
        with httpx.Client(trust_env=False, timeout=20.0) as http:
            waiting: list[str] = http.get(f"{self.stack.url(service)}/readyz").json()["waiting_for"]
        return waiting

    def logged(self, service: str) -> list[dict[str, object]]:
        text = self.stack.state.log_file(service).read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    place = Elsewhere(EmbeddedStack(tmp_path / "elsewhere"), tmp_path / "parties")
    place.parties.mkdir()
    try:
        yield place
    finally:
        cloister("down", "--state", place.state)


def scores(party: Party, grant: Signed, rows: np.ndarray) -> tuple[list[float], int]:
    answer = user.open_session(party, grant).ask(rows)
    assert answer.scores is not None
    return [float(one) for one in answer.scores[0]], answer.answers_left


def test_a_copy_comes_up_elsewhere_and_an_older_one_revives_nothing(
    stack: RunningStack, finished: Finished, make_party: MakeParty, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    asker, rows = make_party("user"), np.zeros((1, 8, 8), np.uint8)
    grant = let_ask(finished, asker, tmp_path / "grant.json", ANSWERS)
    before, left = scores(asker, grant, rows)
    assert left < ANSWERS

    # (1) the memory of the witness, then the copy: nothing that the witness has seen is missing in it
    elsewhere.state.mkdir(mode=0o700)
    copy = elsewhere.parties / "copy"
    memory = elsewhere.parties / "witness"
    shutil.copytree(stack.state / "witness", memory)
    told = [json.loads(line) for line in cloister("backup", copy, "--state", stack.state, "--json").splitlines()]
    assert (told[-1]["type"], told[-1]["state"], told[-1]["was_up"]) == ("state-copied", "made", True)
    cloister("restore", copy, "--state", elsewhere.state)
    shutil.copytree(memory, elsewhere.state / "witness")
    for name, party in (("user", asker), ("owner", finished.owner)):
        shutil.copytree(party.directory, elsewhere.parties / name)

    # (2) it comes up, the witness confirms a new epoch, the model answers alike, and no answer has come back
    elsewhere.start()
    after, left_there = scores(elsewhere.party("user"), grant, rows)
    assert np.allclose(after, before, atol=1e-5)
    assert left_there < left
    epochs = [one["epoch"] for one in elsewhere.logged("attestation") if one["event"] == "enclave_ready"]
    assert epochs
    assert max(map(int, map(str, epochs))) > 1

    # (3) the grant is revoked there, after one more copy was made
    older = elsewhere.back_up("older")
    grant_id = GrantId.of(grant.digest)
    ended = e.outcome(granting.revoke(elsewhere.party("owner"), grant_id), e.Ended)
    assert ended.log_entry
    cloister("down", "--state", elsewhere.state)
    newest = elsewhere.back_up("newest")

    # (4) the older copy is not put over the newer state by accident; where it is, the broker stays frozen
    with start("restore", older, "--state", elsewhere.state) as refused:
        output, _ = refused.communicate()
    assert refused.returncode == 1
    assert "conflict.newer_state" in output
    elsewhere.put_back(older)
    elsewhere.stack.start()
    _await_refusal(elsewhere)
    assert elsewhere.waiting_for("witness") == ["broker"]
    with pytest.raises(CloisterError):
        scores(elsewhere.party("user"), grant, rows)
    elsewhere.stack.stop()

    # (5) the newest copy starts again, and the grant is still revoked
    elsewhere.put_back(newest)
    elsewhere.start()
    with pytest.raises(PolicyError, match="policy.revoked"):
        scores(elsewhere.party("user"), grant, rows)


def _await_refusal(elsewhere: Elsewhere) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(one.get("code") == "freshness.state" for one in elsewhere.logged("witness")):
        assert time.monotonic() < deadline, elsewhere.logged("witness")[-3:]
        time.sleep(0.2)
