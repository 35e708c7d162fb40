"""A signed training order: its public part is all that the host's view of the job may depend on (side: library)."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.messages.base import Message, Seconds

Positive = Annotated[int, Field(ge=1, le=1 << 31)]
SandboxName = Literal["native", "wasm"]
"""Where a provider's code runs (common/sandbox/protocol.py, `SandboxKind`)."""
ToolchainName = Literal["fp32", "bf16"]
"""What a job trains in (common/exchange/toolchain.py)."""
ToolchainWish = Literal["auto", "fp32", "bf16"]
"""`auto`: bfloat16 where all members can."""
DeviceName = Literal["cpu", "cuda"]
"""What trainers compute with, as torch names it (docs/gpu.md)."""
AnswerTiming = Literal["padded", "immediate"]
"""When a model's answers leave: on a quantum, or, where trusted code computes them, when they are ready."""
PrecisionName = Literal["float32", "bfloat16", "int8"]
"""In what a model computes its answers, from the finest to the coarsest."""


class Schedule(Message):
    """The job's clock and traffic, all public (ARCHITECTURE, decisions 10 and 11).

    Training runs in `rounds` of `steps_per_round` local steps on batches of `batch_rows`. Frames of `frame_bytes` leave
    at every tick, `frames_per_tick` from each member, real or dummy; each trainer asks for `reads_per_tick` chunks.
    The job takes `total_ticks` ticks, whatever happens in it. `warmup_ticks` come first: members join, windows fill.
    After every `checkpoint_ticks` the parameter server seals where it stands, for a later launch; 0: it never does.
    With `rounds_ahead` a trainer goes on while a round is exchanged (ARCHITECTURE, decision 38); designs never do.
    In the last `quantising_ticks` nothing is learned: the final state goes to slot 0, which judges it in int8.
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
    checkpoint_ticks: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    rounds_ahead: Annotated[int, Field(ge=0, le=1)] = 0
    quantising_ticks: Annotated[int, Field(ge=0, le=100_000)] = 0

    @property
    def learning_ticks(self) -> int:
        """Warm-up, then rounds x ticks per round x slack, rounded up."""
        return self.warmup_ticks + -(-self.rounds * self.ticks_per_round * self.slack_percent // 100)

    @property
    def total_ticks(self) -> int:
        """What is learned in, then what int8 is judged in."""
        return self.learning_ticks + self.quantising_ticks

    @property
    def tick_seconds(self) -> float:
        """Length of a tick."""
        return self.tick_milliseconds / 1000

    def has_checkpoint(self, tick: int) -> bool:
        """Whether the parameter server seals where it stands after this tick."""
        every = self.checkpoint_ticks
        return every > 0 and 0 < tick < self.total_ticks and tick % every == 0


class AnswerTerms(Message):
    """In what a model may be answered: `lowest` or finer, as its owners say.

    int8 is judged on `held_out_percent` of the rows, which nothing is trained on. It answers if it loses at most
    `most_drop_points` percent points of float32's top-1 accuracy there.
    """

    lowest: PrecisionName = "float32"
    most_drop_points: Annotated[float, Field(ge=0, le=100)] = 0.5
    held_out_percent: Annotated[int, Field(ge=0, le=50)] = 0

    @model_validator(mode="after")
    def _int8_is_judged(self) -> Self:
        if (self.lowest == "int8") != (self.held_out_percent > 0):
            raise ValueError("rows are held out for int8, and only for it")
        return self


MAX_SHARD_ENTRIES: Final = 4096
"""Of all slots together, so that an order stays short."""

Shard = Annotated[tuple[Annotated[int, Field(ge=0, lt=64)], ...], Field(min_length=1, max_length=64)]
"""Which of an order's data sets a slot trains on, by their places, ascending."""


class TrainingOrder(Message):
    """What the owner orders. Signed by every owner of its data sets; single use (`nonce`), until `not_after`.

    `secret` is an `OrderSecret` wrapped to the broker (info = `order_secret_info`). `broker` is the broker's signing
    key and `release` the digest of the release document: members accept no other. `trainers` slots are numbered from 0.
    `shards` has one entry for each of them; none: every slot trains on all data sets. A round counts with the deltas of
    `minimal_trainers` at least. No model is made unless of each owner's slots one has delivered that owner's
    `minimal_rounds`, which are in the order of `owners`; none: one round of each. With the `answer_timing`
    `immediate` provider code may not answer (ARCHITECTURE, decision 45). `device` is what trainers compute with: one
    that has none refuses (confinement.gpu).
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
    shards: Annotated[tuple[Shard, ...], Field(max_length=1024)] = ()
    minimal_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    minimal_rounds: Annotated[tuple[Positive, ...], Field(max_length=64)] = ()
    schedule: Schedule
    parent_model: Digest | None = None
    device: DeviceName = "cpu"
    toolchain: ToolchainWish = "auto"
    answer_timing: AnswerTiming = "padded"
    answers: AnswerTerms = AnswerTerms()
    standing: None = None
    not_after: Seconds
    secret: Annotated[bytes, Field(max_length=8192)]

    @model_validator(mode="after")
    def _every_slot_and_data_set_has_its_place(self) -> Self:
        if not self.shards:
            return self
        if len(self.shards) != self.trainers or sum(map(len, self.shards)) > MAX_SHARD_ENTRIES:
            raise ValueError("a shard for each trainer, and no more entries than fit")
        if any(list(shard) != sorted(set(shard)) for shard in self.shards):
            raise ValueError("places of data sets, ascending")
        if {place for shard in self.shards for place in shard} != set(range(len(self.datasets))):
            raise ValueError("each data set is in a shard, and nothing else")
        return self

    @model_validator(mode="after")
    def _its_minima_can_be_met(self) -> Self:
        if self.minimal_trainers > self.trainers:
            raise ValueError("no more trainers are needed than there are")
        if self.minimal_rounds and len(self.minimal_rounds) != len(self.owners):
            raise ValueError("rounds for each owner")
        if any(rounds > self.schedule.rounds for rounds in self.minimal_rounds):
            raise ValueError("no more rounds are needed than there are")
        return self

    @model_validator(mode="after")
    def _int8_has_its_time(self) -> Self:
        if (self.answers.lowest == "int8") != (self.schedule.quantising_ticks > 0):
            raise ValueError("ticks to judge int8 in, and only for it")
        return self

    @property
    def rounds_of_owners(self) -> tuple[int, ...]:
        """What each owner's slots must deliver at least, in the order of `owners`."""
        return self.minimal_rounds or (1,) * len(self.owners)

    @property
    def all_shards(self) -> tuple[tuple[DatasetId, ...], ...]:
        """The data sets of each slot."""
        return tuple(map(self.shard_of, range(self.trainers)))

    def shard_of(self, slot: int) -> tuple[DatasetId, ...]:
        """The data sets of a slot."""
        return tuple(self.datasets[place] for place in self.shards[slot]) if self.shards else self.datasets

    def place(self, slot: int) -> tuple[int, int]:
        """Of the slots that train on the same data sets as this one: which it is, and how many there are."""
        shards = self.all_shards
        alike = [one for one in range(self.trainers) if shards[one] == shards[slot]]
        return alike.index(slot), len(alike)


class OrderSecret(Message):
    """The part of an order that only the broker's enclave and the job's members read."""

    type: Literal["order-secret"] = "order-secret"
    version: Literal[1] = 1
    learning_seed: Annotated[bytes, Field(min_length=32, max_length=32)]
    outer_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1.0
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
