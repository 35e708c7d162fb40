"""What an enclave sees of a sandbox (side: enclave).

P parameters of the state, N rows of a unit of work, A shape of one answer row.

A unit of work (a round of local steps, one query) ends in exactly one outcome: a validated result, or a code of
common/refusals.py that starts with `provider.`. Nothing that provider code does raises here, and no call takes longer
than the deadline that it was given plus the time to kill a process; only a query whose sandbox was killed from outside
also waits for another. What provider code *says* about itself (a status, a loss) only chooses between texts that its
own provider and the data's owner read.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from common.messages.sandbox_bounds import SandboxBounds
from common.refused_calls import RefusedCalls
from common.sandboxed.wire import PLAIN_COURSE, Course

StateP = NDArray[np.float32]
Rows = dict[str, NDArray[np.generic]]


class SandboxKind(StrEnum):
    """How provider code is confined; an order names the kinds that its parties allow."""

    NATIVE = "native"
    WASM = "wasm"


@dataclass(frozen=True)
class SandboxLimits:
    """What provider code may use up. Each is a bound of the whole sandbox, because it may not start processes."""

    memory_bytes: int = 3 << 30
    """Writable private memory (RLIMIT_DATA); other kinds of writable memory are refused or bounded by file_bytes."""
    threads: int = 16
    """Tasks of the sandbox (RLIMIT_NPROC), threads of libraries included."""
    file_bytes: int = 64 << 20
    """Scratch space of a training sandbox, all files together; a query sandbox has none."""
    cpu_seconds: int = 86_400
    """CPU time of one process (RLIMIT_CPU)."""
    compute_threads: int = 1
    """Threads that torch computes with while training, and an engine with that answers for a graph."""

    def within(self, bounds: SandboxBounds) -> Self:
        """These, and no more than owners allow."""
        stated = bounds.model_dump(exclude_none=True)
        return replace(self, **{name: min(getattr(self, name), most) for name, most in stated.items()})


@dataclass(frozen=True)
class SandboxSeeds:
    """Randomness comes from the enclave (Ryoan's rule), as 64-bit numbers.

    `initial` builds the model and is the same for all trainers of a job; `stream` drives what follows (augmentation,
    dropout) and differs by slot.
    """

    initial: int
    stream: int


@dataclass(frozen=True)
class RoundMetrics:
    """What a round says of itself, of one fixed size: for the data's owner, never for the host."""

    steps_done: int
    loss_mean: float
    loss_last: float


@dataclass(frozen=True)
class RoundOutcome:
    """Either `state_P` and `metrics`, or `code`."""

    state_P: StateP | None = None
    metrics: RoundMetrics | None = None
    code: str | None = None


@dataclass(frozen=True)
class QueryOutcome:
    """Either `answer_NA` (as many rows as were asked about) or `code`."""

    answer_NA: NDArray[np.generic] | None = None
    code: str | None = None


class TrainingSandbox(Protocol):
    """Provider code that trains. Optimiser state lives on in it between rounds (local SGD).

    `refused_calls`: what was counted so far of calls that it was refused, as provider code may have falsified it; none
    where that is not asked for.
    """

    refused_calls: RefusedCalls

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        """The state that the provider's constructor makes under the initial seed; metrics are zero."""
        ...

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """Train `steps` steps from `state_P` on exactly steps x batch `rows`, taken in the order given.

        A design trains as of the round that `course` names, with its factors; provider code is told neither.

        After an outcome with a code, every later call returns that code at once.
        """
        ...

    def close(self) -> None:
        """End all that runs in it and forget its windows. Idempotent."""
        ...


class QuerySandbox(Protocol):
    """A model that answers. Of provider code every query meets a process that no other query has met."""

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:
        """Answer 1 to `query_rows` rows of the manifest's input (a single row may come without its batch axis).

        An outcome with a code is about this query alone; the next one is tried afresh.
        """
        ...

    def close(self) -> None:
        """End all that runs in it and forget its windows. Idempotent."""
        ...


STARTUP_SECONDS: Final = 60.0
"""How long a sandbox may take from its start until torch is imported, on a machine that is busy."""
