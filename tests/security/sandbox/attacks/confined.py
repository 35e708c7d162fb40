"""Plays the table against the `native` sandbox (side: library).

A query sandbox bears every attack, because each query meets a fresh process. A training sandbox ends with the first
failure, so each ending and forgery has one of its own; calls and notes share theirs.
"""

from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass

import numpy as np

from common.bundle import BundleContents
from common.errors import FormatError
from common.sandbox.protocol import QueryOutcome, RoundOutcome
from tests.security.sandbox.attacks import table as t
from tests.security.sandbox.attacks.bundles import BUNDLES
from tests.security.sandbox.attacks.calls import CALL_NAMES, CONTROL
from tests.security.sandbox.hostile_bundle import memory_tricks, poison
from tests.security.sandbox.hostile_bundle.attempting import REFUSED, SUCCEEDED
from tests.security.sandbox.sandbox_parts import SLOTS, HostileServer, HostileTrainer, hostile_bundle

SHORT_SECONDS = 1.0
SECRET = 77
_TAINTED = "numbers that are not finite"
_RESULTS = {REFUSED: t.REFUSED, SUCCEEDED: "succeeded"}


@dataclass(frozen=True)
class Verdict:
    """What came of an attack in one sandbox."""

    attack: t.Attack
    sandbox: t.Sandbox
    seen: str

    @property
    def blocked(self) -> bool:
        """Whether that is what must come of it."""
        return self.seen in self.attack.expected


Ask = Callable[[str, int, float], tuple[str, list[float]]]
"""Has a deed done: deed, argument, seconds; `ANSWERED` or a code, and the numbers."""

_BY_NAME = {attack.name: attack for attack in t.TABLE}


def play_all() -> list[Verdict]:
    """The whole table."""
    return [*play_bundles(), *play_queries(), *play_training()]


def play_bundles() -> Iterator[Verdict]:
    """What the parser must refuse."""
    good = hostile_bundle().encode()
    BundleContents.parse(good)
    for name, make in BUNDLES.items():
        try:
            BundleContents.parse(make(good))
            seen = "parsed"
        except FormatError:
            seen = "format.bundle"
        yield Verdict(_BY_NAME[name], "bundle", seen)


def play_queries() -> Generator[Verdict]:
    """All that is played in one query sandbox. After every failure the next query must be answered."""
    server = HostileServer()

    def ask(deed: str, argument: int, seconds: float) -> tuple[str, list[float]]:
        return _read_query(server.query(deed, argument, seconds=seconds))

    try:
        yield from _calls("query", ask)
        yield from _notes("query", ask, ask)
        _, ran = ask("poisoned", 0, 30.0)
        for name, did in zip(poison.FILES, ran, strict=False):
            yield Verdict(_BY_NAME[name], "query", "ran" if did else t.NOT_RUN)
        for name, deed, argument, seconds in _failures("query"):
            seen, _ = ask(deed, argument, seconds)
            alive, _ = ask("echo", 5, 30.0)
            yield Verdict(_BY_NAME[name], "query", seen if alive == t.ANSWERED else "the next query had no answer")
    finally:
        server.sandbox.close()


def play_training(failures: Collection[str] | None = None) -> Iterator[Verdict]:
    """All that is played in training sandboxes, of the failures only those named. A failure must stay what it was."""
    contents = hostile_bundle()
    first, second = HostileTrainer(contents), HostileTrainer(contents)
    try:
        yield from _calls("training", _asker(first))
        yield from _notes("training", _asker(first), _asker(second))
    finally:
        first.sandbox.close()
        second.sandbox.close()
    for name, deed, argument, seconds in _failures("training"):
        if failures is not None and name not in failures:
            continue
        trainer = HostileTrainer(contents)
        try:
            outcome = trainer.round(deed, argument, seconds=seconds)
            seen, numbers = _read_round(outcome)
            after, _ = _read_round(trainer.round("echo", 5))
            if _read_round(outcome)[1] != numbers:
                seen = "a result that changed afterwards"
            if seen not in {after, t.ANSWERED}:
                seen = f"{seen}, then {after}"
        finally:
            trainer.sandbox.close()
        yield Verdict(_BY_NAME[name], "training", seen)


def _failures(sandbox: t.Sandbox) -> Iterator[tuple[str, str, int, float]]:
    """Name, deed, argument and deadline of what is played one by one."""
    for number, (name, (_, where, code)) in enumerate(t.ENDINGS.items()):
        if sandbox in where:
            yield name, "end", number, SHORT_SECONDS if code == "provider.timeout" else 30.0
    if sandbox == "training":
        yield from ((name, "forge", number, 10.0) for number, name in enumerate(t.FORGERIES))
    for name in ("eat_memory", *t.NUMBERS):
        if sandbox in _BY_NAME[name].sandboxes:
            yield name, name, 0, 30.0


def _calls(sandbox: t.Sandbox, ask: Ask) -> Iterator[Verdict]:
    for start in range(0, len(CALL_NAMES), SLOTS):
        names = CALL_NAMES[start : start + SLOTS]
        code, results = ask("attempt", start, 30.0)
        words = [_RESULTS.get(result, "broken") for result in results] or [code] * len(names)
        for name, seen in zip(names, words, strict=False):
            if name == CONTROL:
                if seen != "succeeded":
                    raise RuntimeError(f"the control attempt did not succeed: {seen}")
            elif sandbox in _BY_NAME[name].sandboxes:
                yield Verdict(_BY_NAME[name], sandbox, seen)


def _notes(sandbox: t.Sandbox, write: Ask, read: Ask) -> Iterator[Verdict]:
    write("remember", SECRET, 30.0)
    _, found = read("recall", 0, 30.0)
    for name, value in zip(memory_tricks.TRICKS, found, strict=False):
        yield Verdict(_BY_NAME[name], sandbox, f"found {value}" if value else t.FORGOTTEN)


def _asker(trainer: HostileTrainer) -> Ask:
    return lambda deed, argument, seconds: _read_round(trainer.round(deed, argument, seconds=seconds))


def _read_round(outcome: RoundOutcome) -> tuple[str, list[float]]:
    if outcome.state_P is None:
        return str(outcome.code), []
    return t.ANSWERED if np.isfinite(outcome.state_P).all() else _TAINTED, [float(one) for one in outcome.state_P]


def _read_query(outcome: QueryOutcome) -> tuple[str, list[float]]:
    if outcome.answer_NA is None:
        return str(outcome.code), []
    numbers = [float(one) for one in outcome.answer_NA[0]]
    return t.ANSWERED if np.isfinite(numbers).all() else _TAINTED, numbers
