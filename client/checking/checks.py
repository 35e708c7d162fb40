"""A provider's directory is checked in the sandbox of a job, on synthetic rows (side: owner: the provider's machine).

In this order; the first that fails ends the check:

  (1) packs: paths, description, and the layout of the model's state;
      of design code (`designs`): it designs, alike twice, and steers; from here on its design is checked, not it;
  (2) imports: in the sandbox, with the first state under the initial seed;
  (3) trains: rounds of local steps, after each of which the state has its layout and is finite;
  (4) repeats: a second sandbox with the same seeds comes to the same states, bit by bit;
  (5) answers: queries against the last state, always the same, finite and of the declared shape.

Then it is said whether the code exports to a graph; that is no verdict.

(2), (3) and (5) are run by the very classes that an enclave uses (`common/sandbox/native`), and their outcome is the
verdict. The second run, of (4), is watched (`watched`): what it tells explains a verdict, and makes none but (4).
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from client.checking import events as c
from client.checking.designs import DesignRuns
from client.checking.exports import export_of
from client.checking.findings import (
    MOST_SHOWN,
    module_advice,
    printed_events,
    profile,
    raised_events,
    reason,
    refusal_events,
)
from client.checking.runs import SEEDS, CheckWishes, Runs, RunsOfBoth
from client.checking.synthetic import Schema, declared_schema, read_schema, table_of
from client.events import Event
from common.bundle import DESIGN_ENTRY, BundleContents, BundleManifest
from common.bundle_packing import NotBuiltError, pack_bundle
from common.errors import refusal_of
from common.refusals import REFUSALS
from common.sandbox.probe import require_confinement


def check(directory: Path, wishes: CheckWishes) -> Iterator[Event]:
    """Checks (1) to (5). Ends with `CheckFinished`; then raises the refusal of the step that failed, if one did.

    Raises `FormatError` (format.schema, format.bundle), `ConfinementError` where this machine can't confine.
    """
    schema = None if wishes.schema is None else read_schema(wishes.schema)
    try:
        contents = pack_bundle(directory, started=False)  # (1)
    except NotBuiltError as refusal:
        yield c.CodeRaised(step="packs", error=refusal.error, text=refusal.words, instead=module_advice(refusal.error))
        yield c.CheckFinished(passed=False, refused=0)
        raise
    manifest = contents.manifest
    words = f"{manifest.name} {manifest.bundle_version}, {len(contents.files)} files, {manifest.state_count:,} values"
    yield _passed("packs", words)
    require_confinement()
    known = schema or declared_schema(manifest)
    if manifest.designs:
        contents = yield from _designed(DesignRuns(contents, known, SEEDS))
    checker = Checker(contents.manifest, known, wishes, Runs(contents, known, wishes))
    yield from checker.steps()
    if checker.failed is None and not contents.has_design:
        yield export_of(contents, wishes.limits)
    yield from checker.findings()
    if checker.failed is not None:
        failed = checker.failed
        raise refusal_of(failed.code or "provider.output", expected=f"a bundle that {failed.step}", seen=failed.text)


def _designed(runs: DesignRuns) -> Generator[Event, None, BundleContents]:
    """The bundle of what design code designs. Raises the refusal of the step that failed."""
    event: c.StepChecked | None = None
    for event in runs.steps():
        yield event
    if runs.designed is not None:
        return runs.designed
    yield c.CheckFinished(passed=False, refused=0)
    code = event.code if event is not None else None
    raise refusal_of(
        code or "provider.output", expected="design code that designs and steers", seen=event and event.text
    )


class Checker:
    """Steps (2) to (5) of one bundle."""

    def __init__(self, manifest: BundleManifest, schema: Schema, wishes: CheckWishes, runs: RunsOfBoth) -> None:
        self._manifest, self._schema, self._wishes, self._runs = manifest, schema, wishes, runs
        self.failed: c.StepChecked | None = None

    def steps(self) -> Iterator[Event]:
        """Everything up to the first step that fails."""
        self._runs.train()
        yield from self._judge([self._imports, self._trains, self._repeats])
        if self.failed is None:
            self._runs.ask()
            yield from self._judge([self._answers])

    def findings(self) -> Iterator[Event]:
        """What the watched run tells. Ends with `CheckFinished`."""
        told = self._runs.watched.told
        refusals = refusal_events(told)
        yield from raised_events(told)
        yield from refusals[:MOST_SHOWN]
        yield from printed_events(told)
        taken = profile(self._runs, self._wishes, self._manifest)
        if taken is not None:
            yield taken
        yield c.CheckFinished(passed=self.failed is None, refused=sum(one.count for one in refusals if one.at))

    def _judge(self, verdicts: Sequence[Callable[[], c.StepChecked]]) -> Iterator[Event]:
        for verdict in verdicts:
            event = verdict()
            yield event
            if not event.passed:
                self.failed = event
                return

    def _imports(self) -> c.StepChecked:
        """(2)."""
        if not self._runs.plain.states:
            return self._failure("imports", self._runs.plain.code)
        return _passed("imports", "the first state is finite, and has the layout that was packed")

    def _trains(self) -> c.StepChecked:
        """(3)."""
        if self._runs.plain.code is not None:
            return self._failure("trains", self._runs.plain.code)
        wishes, columns = self._wishes, table_of(self._schema.columns)
        return _passed("trains", f"{wishes.rounds} rounds of {wishes.steps} steps of {wishes.batch} rows: {columns}")

    def _repeats(self) -> c.StepChecked:
        """(4)."""
        plain, watched = self._runs.plain, self._runs.watched
        if watched.code is not None:
            step: c.Step = "trains" if watched.states else "imports"
            words = reason(watched.told, step) or "the process ended"
            return _failed("repeats", watched.code, f"it ran once, and not again with equal seeds: {words}")
        pairs = enumerate(zip(plain.states, watched.states, strict=True))
        other = next((number for number, (one, two) in pairs if not np.array_equal(one, two)), None)
        if other is not None:
            where = "the first state" if other == 0 else f"the state after round {other}"
            return _failed("repeats", "provider.not_repeatable", f"with equal seeds {where} came out differently")
        return _passed("repeats", "equal seeds make equal states, bit by bit")

    def _answers(self) -> c.StepChecked:
        """(5). What trusted code answers by a design hangs, within a tolerance, on the engine that a launch chose."""
        launches = [self._runs.plain.answers, self._runs.watched.answers]
        code = next((one.code for some in launches for one in some if one.code is not None), None)
        if code is not None:
            return self._failure("answers", code)
        answers = [[one.answer_NA for one in some if one.answer_NA is not None] for some in launches]
        by_trusted_code = self._manifest.entry == DESIGN_ENTRY
        for first, *others in answers if by_trusted_code else [[*answers[0], *answers[1]]]:
            if not all(np.array_equal(first, one) for one in others):
                return _failed("answers", "provider.not_repeatable", "the same rows were answered differently")
        first = answers[0][0]
        return _passed("answers", f"{len(first)} rows, each {list(self._manifest.answer.shape)}")

    def _failure(self, step: c.Step, code: str | None) -> c.StepChecked:
        own = self._manifest
        words = reason(self._runs.watched.told, step) or "the process ended, and nothing was raised"
        if code == "provider.input":
            wanted = table_of({own.input.column: own.input, own.label.column: own.label})
            words = f"the code reads {wanted}; there are {table_of(self._schema.columns)}"
        elif code == "provider.timeout":
            words = "it took longer than it may"
        return _failed(step, code or "provider.output", words)


def _passed(step: c.Step, text: str) -> c.StepChecked:
    return c.StepChecked(step=step, passed=True, text=text)


def _failed(step: c.Step, code: str, text: str) -> c.StepChecked:
    return c.StepChecked(step=step, passed=False, text=text, code=code, mend=REFUSALS[code][1])
