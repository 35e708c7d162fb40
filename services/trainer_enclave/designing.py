"""A job's design at one trainer: made once its data are there, then steered (side: enclave).

Holds: the provider's design code of one launch, and the document that it wrote.  Reads: columns, steering.  Sends:
nothing.

Design code decides from seed, profile and the losses of the whole job, which are the same at every trainer. So all of
them train one graph on one course, however late one joined: each steering brings the whole past, and what this
trainer's code was not yet told it is told first. A past that is another one (the parameter server began anew) means
fresh design code. Whatever design code does ends in a refusal with a code, never earlier than the schedule.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.bundle import BundleContents, BundleManifest
from common.crypto.digests import sha256
from common.errors import refusal_of
from common.exchange.steering import Steering, pad_design, rounds_per_epoch
from common.job_design import open_design
from common.job_profile import JobRows, profile_of_job
from common.messages.order import TrainingOrder
from common.model_graph.design import Adjustment
from common.sandbox.wasm.designer import DesignOutcome, SteeringOutcome
from common.sandbox.wasm.interface import Metrics, Profile
from common.sandboxed.wire import Course

STEERING_SHARE = 0.25
"""Part of a round's deadline that design code may take."""


class Designer(Protocol):
    """A provider's design code (common/sandbox/wasm/designer.py)."""

    def design(self, profile: Profile, deadline_seconds: float) -> DesignOutcome:
        """The design for this profile, or a code."""
        ...

    def after_epoch(self, metrics: Metrics, deadline_seconds: float) -> SteeringOutcome:
        """What it wants after an epoch, or a code."""
        ...

    def close(self) -> None:
        """End it. Idempotent."""
        ...


@dataclass(frozen=True)
class Heading:
    """How a round is trained; `stopped`: for nothing, because the design has ended the training."""

    course: Course
    stopped: bool = False


class JobDesign:
    """`start` starts the provider's design code, within so many seconds."""

    def __init__(self, order: TrainingOrder, start: Callable[[float], Designer]) -> None:
        self._order, self._start = order, start
        self._designer: Designer | None = None
        self._profile: Profile | None = None
        self._document: bytes | None = None
        self._forget()

    def _forget(self) -> None:
        self._told: tuple[float | None, ...] = ()
        self._adjustment, self._stopped = Adjustment(), False

    def prepare(self, deadline_seconds: float) -> None:
        """Start design code before there are data, because compiling takes its time."""
        if self._designer is None:
            self._designer = self._start(deadline_seconds)

    def make(self, rows: JobRows, bundle: BundleManifest, deadline_seconds: float) -> BundleContents:
        """The bundle of the design for these rows. Raises a `Refusal` with the code of what is wrong."""
        self._profile = profile_of_job(rows, bundle, self._order.schedule, self._order.trainers)
        self._document = self._designed(self._profile, deadline_seconds)
        pad_design(self._document)
        return open_design(self._document, bundle, self._order.schedule)

    def payload(self) -> bytes:
        """The DESIGN payload."""
        return pad_design(self._document or b"")

    def heading(self, number: int, steering: Steering, deadline_seconds: float) -> Heading:
        """How round `number` is trained, after design code has heard of all that is over. Raises a `Refusal`."""
        deadline = time.monotonic() + STEERING_SHARE * deadline_seconds
        if self._document is None or steering.design != sha256(self._document):
            raise refusal_of("provider.differs")
        if steering.losses[: len(self._told)] != self._told:
            self._begin_anew(deadline)
        for loss in steering.losses[len(self._told) :]:
            self._tell(loss, deadline)
        factors = self._adjustment
        course = Course(number, factors.learning_rate, factors.weight_decay, factors.augmentation)
        return Heading(course, self._stopped)

    def close(self) -> None:
        """End design code."""
        if self._designer is not None:
            self._designer.close()
            self._designer = None

    def _designed(self, profile: Profile, deadline_seconds: float) -> bytes:
        deadline = time.monotonic() + deadline_seconds
        if self._designer is None:
            self._designer = self._start(deadline_seconds)
        outcome = self._designer.design(profile, deadline - time.monotonic())
        if outcome.text is None:
            raise refusal_of(outcome.code or "provider.output")
        return outcome.text.encode()

    def _begin_anew(self, deadline: float) -> None:
        self.close()
        self._forget()
        if self._profile is None or self._designed(self._profile, deadline - time.monotonic()) != self._document:
            raise refusal_of("provider.differs")

    def _tell(self, loss: float | None, deadline: float) -> None:
        epoch, told = len(self._told), math.nan if loss is None else loss
        self._told += (loss,)
        if self._stopped or self._designer is None:
            return
        schedule = self._order.schedule
        steps = (epoch + 1) * rounds_per_epoch(schedule) * schedule.steps_per_round
        outcome = self._designer.after_epoch(Metrics(epoch, steps, told, told), deadline - time.monotonic())
        if outcome.change is None:
            raise refusal_of(outcome.code or "provider.output")
        self._stopped = outcome.change.action == "stop"
        self._adjustment = outcome.change.adjustment or self._adjustment
