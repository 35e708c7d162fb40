"""What one launch of the parameter server knows of a job: its order, and the broker's terms (side: enclave)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from common.bundle import BundleContents, BundleManifest
from common.exchange.frames import Endpoint
from common.identifiers import Digest, JobId
from common.job_design import open_design
from common.key_retrieval import Launch
from common.messages.order import Schedule, ToolchainWish


@dataclass(frozen=True)
class OwnerPart:
    """The slots that train on one owner's data, and the rounds that one of them must have delivered."""

    slots: frozenset[int]
    minimal_rounds: int


@dataclass(frozen=True)
class JobContext:
    """What one launch of the parameter server knows of a job when it is admitted.

    `require_design` checks the design of a job that has one, and raises `FormatError`; None: the bundle is ordinary,
    and `buffers` are those of its layout.
    `owner_parts`: if one of them was too small, nothing was learned. A round counts with the deltas of
    `minimal_trainers` at least.
    """

    job_id: JobId
    order: Digest
    schedule: Schedule
    own: Endpoint
    outer_learning_rate: float
    outer_momentum: float
    require_design: Callable[[bytes], BundleContents] | None = None
    trainers: int = 1
    toolchain: ToolchainWish = "auto"
    owner_parts: tuple[OwnerPart, ...] = ()
    minimal_trainers: int = 1
    buffers: tuple[slice, ...] = ()

    @classmethod
    def of(cls, launch: Launch, job_id: JobId, layout: BundleManifest | None) -> Self:
        """What the order and the broker's terms say. `layout`: of the bundle; None where it could not be read."""
        order, terms = launch.order, launch.terms
        return cls(
            job_id=job_id,
            order=terms.order.digest,
            schedule=order.schedule,
            own=Endpoint(0, launch.attempt, launch.signing_key.party),
            outer_learning_rate=terms.outer_learning_rate,
            outer_momentum=terms.outer_momentum,
            require_design=_design_check(layout, order.schedule),
            trainers=order.trainers,
            toolchain=order.toolchain,
            owner_parts=_owner_parts(launch),
            minimal_trainers=order.minimal_trainers,
            buffers=() if layout is None else layout.buffers,
        )


def _design_check(layout: BundleManifest | None, schedule: Schedule) -> Callable[[bytes], BundleContents] | None:
    if layout is None or not layout.designs:
        return None
    return lambda document: open_design(document, layout, schedule)


def _owner_parts(launch: Launch) -> tuple[OwnerPart, ...]:
    """What part each of the order's owners must have. An owner may have got another key since its data were sealed."""
    order = launch.order
    owners = {
        data.dataset_id: next(place for place, owner in enumerate(order.owners) if owner in data.owner_keys)
        for data in launch.terms.datasets
    }
    own = [{owners[dataset_id] for dataset_id in shard} for shard in order.all_shards]
    return tuple(
        OwnerPart(frozenset(slot for slot, of_slot in enumerate(own) if place in of_slot), least)
        for place, least in enumerate(order.rounds_of_owners)
    )
