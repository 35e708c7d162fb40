"""What the host may know of sealed objects, data sets, bundles and models: roots, sizes, signers (side: library)."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from common.identifiers import BundleId, CodeMeasurement, DatasetId, Digest, JobId, ModelId, PartyKey
from common.messages.base import Count, Message, Seconds
from common.messages.order import PrecisionName, SandboxName, Schedule, ToolchainName


def _require_power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("not a power of two")
    return value


def _power_of_two(value: float, largest: int) -> int:
    """The least one that is not below `value`, within 2^0 to 2^largest."""
    return 1 << min(largest, max(0, math.ceil(math.log2(max(value, 1.0)))))


ChunkCount = Annotated[int, Field(ge=1, le=1 << 24)]


class ObjectRef(Message):
    """One immutable sealed object, by the Merkle root over its header and chunk digests (common/sealed_object)."""

    root: Digest
    chunk_count: ChunkCount


class DatasetManifest(Message):
    """One version of a data set: immutable sealed parts under one data key and one policy chain. Signed by the owner.

    `policy` is the digest of policy version 1; later versions chain to it. `DatasetId.of(signed.digest)` names it.
    """

    type: Literal["dataset-manifest"] = "dataset-manifest"
    version: Literal[1] = 1
    owner: PartyKey
    dataset_version: Annotated[int, Field(ge=1)] = 1
    previous: Digest | None = None
    parts: Annotated[tuple[ObjectRef, ...], Field(min_length=1, max_length=4096)]
    policy: Digest


PowerOfTwo = Annotated[int, Field(ge=1, le=1 << 40), AfterValidator(_require_power_of_two)]


class StepCost(Message):
    """What a training step takes at most, where a reference step (common/reference_step) takes 1,000 microseconds.

    Of B rows: fixed_microseconds + B row_nanoseconds / 1000. Powers of two, so that a provider who lets it be measured
    says at most 11 bits of its code (`StepCost.of`: 31 and 41 values), of synthetic rows and never of anybody's data.
    """

    fixed_microseconds: PowerOfTwo
    row_nanoseconds: PowerOfTwo

    @classmethod
    def of(cls, fixed_microseconds: float, row_nanoseconds: float) -> "StepCost":
        """These, rounded up."""
        return cls(
            fixed_microseconds=_power_of_two(fixed_microseconds, 30), row_nanoseconds=_power_of_two(row_nanoseconds, 40)
        )

    def milliseconds(self, rows: int) -> float:
        """Of a step on that machine."""
        return (self.fixed_microseconds + rows * self.row_nanoseconds / 1000) / 1000


class BundlePublication(Message):
    """A provider's sealed code bundle. Signed by the provider; `terms` is the digest of its sealed BundleTerms.

    `state_class` is the padded number of float32 values of the trained state: public, because frames carry it.
    `sandbox` is where the bundle's code runs, which an order must name: public, because owners' policies ask for it.
    `step_cost` is there if the provider let it be measured; owners size their orders by it, and nothing is checked.
    """

    type: Literal["bundle-publication"] = "bundle-publication"
    version: Literal[1] = 1
    provider: PartyKey
    object: ObjectRef
    terms: Digest
    state_class: Annotated[int, Field(ge=1, le=1 << 32)]
    sandbox: SandboxName = "native"
    step_cost: StepCost | None = None


class SlotRecord(Message):
    """What one member of a finished job was: role, slot, attempts used, measurement (MRENCLAVE, or MRTD)."""

    role: str
    slot: Count
    attempt: Count
    mr_enclave: CodeMeasurement


class ModelManifest(Message):
    """Ties a sealed model to all that made it (ARCHITECTURE, decision 17). Signed by the parameter server's launch key.

    The host reads it, so it says what was ordered and not what came of it: how many rounds were done, and by whom,
    stands in the report that is sealed to the owner.

    `answers_in` is the coarsest precision that was ordered; whether int8 is kept is sealed with the model.
    `weights` is SHA-256 of the plaintext safetensors bytes under a salt that is sealed with them, so that equal
    weights in two models are not seen to be equal.
    """

    type: Literal["model-manifest"] = "model-manifest"
    version: Literal[1] = 1
    model_id: ModelId
    job_id: JobId
    order: Digest
    datasets: tuple[DatasetId, ...]
    data_roots: tuple[Digest, ...]
    bundle: BundleId
    bundle_root: Digest
    object: ObjectRef
    weights: Digest
    schedule: Schedule
    trust_level: str
    members: tuple[SlotRecord, ...]
    created: Seconds
    toolchain: ToolchainName = "fp32"
    answers_in: PrecisionName = "float32"
