"""A signed training order: its public part is all that the host's view of the job may depend on (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.messages.base import Message, Seconds

Positive = Annotated[int, Field(ge=1, le=1 << 31)]
SandboxName = Literal["native", "wasm"]
"""Where a provider's code runs (common/sandbox/protocol.py, `SandboxKind`)."""
ToolchainName = Literal["fp32", "bf16"]
"""What a job trains in (common/exchange/toolchain.py)."""
ToolchainWish = Literal["auto", "fp32", "bf16"]
"""`auto`: bfloat16 where all members can."""


class Schedule(Message):
    """The job's clock and traffic, all public (ARCHITECTURE, decisions 10 and 11).

    Training runs in `rounds` of `steps_per_round` local steps on batches of `batch_rows`. Frames of `frame_bytes` leave
    at every tick, `frames_per_tick` from each member, real or dummy; each trainer asks for `reads_per_tick` chunks.
    The job takes `total_ticks` ticks, whatever happens in it. `warmup_ticks` come first: members join, windows fill.
    With `rounds_ahead` a trainer goes on while a round is exchanged (ARCHITECTURE, decision 33); designs never do.
    """

    rounds: Positive
    steps_per_round: Positive
    batch_rows: Positive
    tick_milliseconds: Annotated[int, Field(ge=10, le=60_000)]
    ticks_per_round: Positive
    slack_percent: Annotated[int, Field(ge=100, le=1000)] = 200
    warmup_ticks: Annotated[int, Field(ge=0, le=100_000)] = 0
    frames_per_tick: Annotated[int, Field(ge=1, le=1024)]
    frame_bytes: Annotated[int, Field(ge=1024, le=4 << 20)]
    reads_per_tick: Annotated[int, Field(ge=0, le=1024)]
    state_class: Annotated[int, Field(ge=1, le=1 << 32)]
    rounds_ahead: Annotated[int, Field(ge=0, le=1)] = 0

    @property
    def total_ticks(self) -> int:
        """Warm-up, then rounds x ticks per round x slack, rounded up."""
        return self.warmup_ticks + -(-self.rounds * self.ticks_per_round * self.slack_percent // 100)

    @property
    def tick_seconds(self) -> float:
        """Length of a tick."""
        return self.tick_milliseconds / 1000


class TrainingOrder(Message):
    """What the owner orders. Signed by every owner of its data sets; single use (`nonce`), until `not_after`.

    `secret` is an `OrderSecret` wrapped to the broker (info = `order_secret_info`). `broker` is the broker's signing
    key and `release` the digest of the release document: members accept no other. `trainers` slots are numbered from 0.
    """

    type: Literal["training-order"] = "training-order"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    owners: Annotated[tuple[PartyKey, ...], Field(min_length=1, max_length=64)]
    broker: PartyKey
    release: Digest
    datasets: Annotated[tuple[DatasetId, ...], Field(min_length=1, max_length=64)]
    bundle: BundleId
    purpose: Literal["training"] = "training"
    sandbox: SandboxName = "native"
    trainers: Annotated[int, Field(ge=1, le=1024)]
    schedule: Schedule
    parent_model: Digest | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    toolchain: ToolchainWish = "auto"
    standing: None = None
    not_after: Seconds
    secret: Annotated[bytes, Field(max_length=8192)]


class OrderSecret(Message):
    """The part of an order that only the broker's enclave and the job's members read."""

    type: Literal["order-secret"] = "order-secret"
    version: Literal[1] = 1
    learning_seed: Annotated[bytes, Field(min_length=32, max_length=32)]
    outer_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1.0
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
