"""What an admitted launch may do, as it opens that with its keys (side: library)."""

from typing import Literal

from common.bundle import ColumnName
from common.identifiers import BundleId, CodeMeasurement, DatasetId, JobId, PartyKey, RoleName
from common.messages.base import Count, Message
from common.messages.bounds import tightest
from common.messages.checkpoint import Checkpoint
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.policy import PublicKey, RefusalReport, TrustLevelName
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.signed import Signed


class DatasetTerms(Message):
    """What a member reads of one data set: its objects and the owner that reports are sealed to.

    `columns` None: all of them. A trainer drops others as soon as it has opened the data. Provider code that meets the
    data, or a model of it, is kept within `sandbox_bounds`. `refusal_report`: what its owner lets the provider be
    told at the job's end. `successors` are the keys that the owner's identity has had since the manifest was signed, in
    order.
    """

    dataset_id: DatasetId
    manifest: DatasetManifest
    report_key: PublicKey
    columns: tuple[ColumnName, ...] | None = None
    sandbox_bounds: SandboxBounds = SandboxBounds()
    refusal_report: RefusalReport = "none"
    successors: tuple[PartyKey, ...] = ()

    @property
    def owner_keys(self) -> tuple[PartyKey, ...]:
        """All keys of the owner's identity; the last is whom reports are sealed to."""
        return (self.manifest.owner, *self.successors)


class LaunchTerms(Message):
    """What an admitted launch may do. Comes inside the admission, wrapped to the launch with its keys.

    `provider` is the key that the bundle's provider has now, and whom its report is sealed to. `checkpoint`: where a
    parameter server goes on; None at the beginning.
    """

    type: Literal["launch-terms"] = "launch-terms"
    version: Literal[1] = 1
    job_id: JobId
    role: RoleName
    slot: Count
    attempt: Count
    order: Signed
    outer_learning_rate: float
    outer_momentum: float
    bundle_id: BundleId
    bundle: BundlePublication
    provider: PartyKey
    provider_report_key: PublicKey
    datasets: tuple[DatasetTerms, ...]
    trust_level: TrustLevelName
    mr_enclaves: dict[str, CodeMeasurement]
    model_manifest: Signed | None = None
    checkpoint: Checkpoint | None = None
    lease_seconds: Count

    @property
    def sandbox_bounds(self) -> SandboxBounds:
        """What provider code may use up under all owners' terms."""
        return tightest(SandboxBounds, (data.sandbox_bounds for data in self.datasets))

    @property
    def refusal_report(self) -> RefusalReport:
        """What the provider is told at the job's end: what every owner lets it be told."""
        return "classes" if all(data.refusal_report == "classes" for data in self.datasets) else "none"
