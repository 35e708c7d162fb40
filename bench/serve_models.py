"""Models that `./cloister bench serve` asks, each as a provider would write it (side: owner).

One row a query, for that is what a user has who asks about an image. The null model reads a corner of its image: what
it is asked through costs everything, and the computing nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.kill_driver import PATIENT_JOB
from client.measuring import CODE_ROOT
from client.scheduling import ScheduleWishes
from common.messages.order import AnswerTiming

RESNET20: Final = CODE_ROOT / "examples" / "providers" / "resnet20_cifar"
NULL: Final = Path(__file__).parent / "null_model"
RESNET50: Final = Path(__file__).parent / "resnet50_model"
EXAMPLES: Final = 64
"""Of the job that makes a model: it is asked how fast it answers, not how well."""

SMALL_JOB: Final = replace(PATIENT_JOB, rounds=4, slack_percent=200, warmup_seconds=12, step_milliseconds=200)
LARGE_JOB: Final = replace(
    PATIENT_JOB,
    rounds=2,
    steps=1,
    batch=2,
    tick_milliseconds=1000,
    slack_percent=150,
    warmup_seconds=40,
    step_milliseconds=6000,
)
"""Of a state of 100 MB, which takes eight ticks of 13 MB."""

LONGER: Final = (1, 4, 12)
"""How much longer a job's times are where the one before came to nothing: a trainer exports its model's graph beside
small rounds and sends it with one, which takes 4 s of a core and two minutes of a machine with twenty other tasks."""


@dataclass(frozen=True)
class ServedModel:
    """Rows of `shape`, uint8, each with `classes` scores; made by `job`, or a longer one. `timing`: of its answers."""

    name: str
    source: Path
    shape: tuple[int, int, int]
    classes: int = 10
    job: ScheduleWishes = SMALL_JOB
    timing: AnswerTiming = "immediate"

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Of a row."""
        return (self.classes,)

    def jobs(self) -> Iterator[ScheduleWishes]:
        """What is tried in turn."""
        for times in LONGER:
            warmup, step = self.job.warmup_seconds or 0, self.job.step_milliseconds
            yield replace(self.job, warmup_seconds=times * warmup, step_milliseconds=times * step)

    def write_bundle(self, directory: Path) -> Path:
        """The provider's directory, for one row a query and this shape."""
        directory.mkdir(parents=True)
        for file in self.source.glob("*.py"):
            (directory / file.name).write_bytes(file.read_bytes())
        described = (self.source / "provider.toml").read_text()
        described = described.replace("query_rows = 16", "query_rows = 1")
        described = described.replace("shape = [3, 32, 32]", f"shape = {list(self.shape)}")
        (directory / "provider.toml").write_text(described)
        return directory

    def rows(self, count: int, seed: int = 0) -> NDArray[np.uint8]:
        """Images [N, ...]: noise, which costs as much as a picture."""
        return np.random.default_rng(seed).integers(0, 256, (count, *self.shape), dtype=np.uint8)

    def write_data(self, file: Path) -> Path:
        """A training file."""
        labels = np.random.default_rng(1).integers(0, 10, EXAMPLES)
        np.savez(file, image=self.rows(EXAMPLES), label=labels)
        return file


MODELS: Final = {
    one.name: one
    for one in (
        ServedModel("resnet20", RESNET20, (3, 32, 32)),
        ServedModel("resnet20_padded", RESNET20, (3, 32, 32), timing="padded"),
        ServedModel("resnet50", RESNET50, (3, 224, 224), classes=1000, job=LARGE_JOB),
        ServedModel("null", NULL, (3, 32, 32)),
        ServedModel("null_150kb", NULL, (3, 224, 224)),
    )
}
