"""Design code, checked before what it designs is trained (side: owner: the provider's machine).

It is told the profile of the synthetic rows under the schedule of a job with the usual wishes, in the very sandbox of a
job (`common/sandbox/wasm`). A trap says nothing of itself: who wants a traceback calls `design` as plain Python.
"""

from collections.abc import Iterator
from typing import Final

from client.checking import events as c
from client.checking.synthetic import Schema, synthetic_rows
from client.scheduling import ScheduleWishes, plan_schedule
from common.bundle import BundleContents
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.job_profile import JobRows, profile_of_job
from common.refusals import REFUSALS
from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.designer import DesignOutcome, WasmDesigner
from common.sandbox.wasm.interface import Metrics, Profile

LOSSES: Final = (1.0, 0.8, 0.6, 0.61, 0.62, 0.63, float("nan"), 0.6)
"""Made up: they fall, then stall; an epoch without a loss is NaN, as in a job."""

TRAINERS: Final = 2
_SECONDS: Final = 60.0

_WORDS: Final = {
    "provider.import": "it does not start, or has not the interface of common/sandbox/wasm/design.wit",
    "provider.raised": "it trapped: an exception, or something that needs a system",
    "provider.timeout": "its fuel or its time was used up",
    "provider.output": "no design within the bounds of profile and provider.toml, or a factor out of its bounds",
    "provider.not_repeatable": "two launches designed differently",
}


class MemoryStore:
    """An `ArtefactStore` that lasts as long as this process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        """What was saved."""
        return self._blobs.get(name)

    def save(self, name: str, blob: bytes) -> None:
        """Keep it."""
        self._blobs[name] = blob


class DesignRuns:
    """Two launches of a bundle's design code, one compilation. `designed` is there when `steps` has ended well."""

    def __init__(self, contents: BundleContents, schema: Schema, seeds: SandboxSeeds) -> None:
        self._contents, self._seeds = contents, seeds
        self._compiled = CompiledDesign(SecretKey.generate(), MemoryStore(), sha256(contents.encode()))
        schedule = plan_schedule(ScheduleWishes(), contents.manifest.state_count)
        rows = synthetic_rows(schema, schema.rows, 0)
        self._profile: Profile = profile_of_job(JobRows((rows,), schema.rows), contents.manifest, schedule, TRAINERS)
        self._epoch_steps = schedule.steps_per_round
        self.designed: BundleContents | None = None

    def steps(self) -> Iterator[c.StepChecked]:
        """It designs, alike twice; it steers. The first that fails is the last."""
        first, second = self._start(), self._start()
        try:
            one, other = (designer.design(self._profile, _SECONDS) for designer in (first, second))
            yield (event := _designs(one, other))
            if event.passed:
                yield (event := self._steers(first))
            if event.passed:
                self.designed = one.bundle
        finally:
            first.close()
            second.close()

    def _start(self) -> WasmDesigner:
        return WasmDesigner.start(self._contents, self._seeds, compiled=self._compiled)

    def _steers(self, designer: WasmDesigner) -> c.StepChecked:
        changes = 0
        for epoch, loss in enumerate(LOSSES):
            outcome = designer.after_epoch(Metrics(epoch, (epoch + 1) * self._epoch_steps, loss, loss), _SECONDS)
            if outcome.change is None:
                return _failed("steers", outcome.code or "provider.output", f"after epoch {epoch}, ")
            changes += outcome.change.action == "stop" or outcome.change.adjustment is not None
        return c.StepChecked(step="steers", passed=True, text=f"{changes} changes in {len(LOSSES)} made-up epochs")


def _designs(one: DesignOutcome, other: DesignOutcome) -> c.StepChecked:
    if one.design is None or one.facts is None or other.text is None:
        return _failed("designs", one.code or other.code or "provider.output")
    if one.text != other.text:
        return _failed("designs", "provider.not_repeatable")
    words = f"{len(one.design.graph.nodes)} operations, {one.facts.state_values:,} values"
    return c.StepChecked(step="designs", passed=True, text=words)


def _failed(step: c.Step, code: str, before: str = "") -> c.StepChecked:
    text = f"{before}{_WORDS.get(code, 'it ended')}"
    return c.StepChecked(step=step, passed=False, text=text, code=code, mend=REFUSALS[code][1])
