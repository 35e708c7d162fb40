"""The operator's HTTP interfaces as typed calls; every answer is checked by the caller (side: owner).

What a service answers is public, signed by somebody else, or sealed: docs/formats.md lists the routes.
"""

from typing import Self

from client.context import Endpoints, Party
from client.http_client import ServiceClient
from common.identifiers import BundleId, DatasetId, JobId, ModelId, UploadId
from common.messages.measured_files import MeasuredFiles
from common.messages.service import (
    BeginUpload,
    Deleted,
    EnrolIdentity,
    IdentityView,
    JobList,
    JobProgress,
    JobReports,
    JobView,
    Machines,
    OrderReceipt,
    ProviderReportView,
    ReportView,
    UploadState,
)
from common.messages.signed import Signed


class AttestationService:
    """Public documents beside the key broker."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._http = ServiceClient(endpoints.attestation)

    def release(self) -> Signed:
        """The release document, to be held against the pinned release keys."""
        return Signed.decode(self._http.get("/v1/release"))

    def measured_files(self) -> MeasuredFiles:
        """The files of that release's enclaves, to be held against its measurements."""
        return MeasuredFiles.decode(self._http.get("/v1/release/files"))


class IngestService:
    """Uploads, registrations and jobs of one party; every request carries its HTTP signature."""

    def __init__(self, endpoints: Endpoints, party: Party) -> None:
        self._party = party.identity.signing_key.party
        self._http = ServiceClient(endpoints.ingest, party.identity.signing_key)

    @classmethod
    def of(cls, party: Party) -> Self:
        """The service that this party knows."""
        return cls(party.endpoints, party)

    def enrol(self) -> IdentityView:
        """Make this identity known; repeating it changes nothing."""
        return IdentityView.decode(self._http.post("/v1/identities", EnrolIdentity(party=self._party).encode()))

    def recover(self, request: bytes) -> bytes:
        """Carry a RecoverIdentity request to the broker, and have the enrolment follow; the broker's signed reply."""
        return self._http.post("/v1/identities/recover", request)

    def begin_upload(self, header: bytes, chunk_digests: bytes) -> UploadState:
        """Begin an upload, or find out where an earlier one stands."""
        body = BeginUpload(header=header, chunk_digests=chunk_digests)
        return UploadState.decode(self._http.post("/v1/uploads", body.encode()))

    def put_leaf(self, upload_id: UploadId, leaf: int, data: bytes) -> None:
        """Send one leaf."""
        self._http.put(f"/v1/uploads/{upload_id}/leaves/{leaf}", data)

    def complete_upload(self, upload_id: UploadId) -> UploadState:
        """Make the object readable once every leaf is there."""
        return UploadState.decode(self._http.post(f"/v1/uploads/{upload_id}/complete", b""))

    def register_dataset(self, request: bytes) -> bytes:
        """Carry a RegisterDataset request to the broker and enter the data set; the broker's signed reply."""
        return self._http.post("/v1/datasets", request)

    def register_bundle(self, request: bytes) -> bytes:
        """Carry a RegisterBundle request to the broker and enter the bundle; the broker's signed reply."""
        return self._http.post("/v1/bundles", request)

    def publication(self, bundle_id: BundleId) -> Signed:
        """A bundle's signed publication."""
        return Signed.decode(self._http.get(f"/v1/bundles/{bundle_id}"))

    def dataset(self, dataset_id: DatasetId) -> Signed:
        """A data set of one's own: its signed manifest."""
        return Signed.decode(self._http.get(f"/v1/datasets/{dataset_id}"))

    def delete_dataset(self, dataset_id: DatasetId) -> Deleted:
        """Ask the operator to delete the ciphertext."""
        return Deleted.decode(self._http.delete(f"/v1/datasets/{dataset_id}"))

    def submit_order(self, order: Signed) -> JobId:
        """Submit a signed order; the same order again names the same job."""
        return OrderReceipt.decode(self._http.post("/v1/orders", order.encode())).job_id

    def machines(self) -> Machines:
        """The trainers' machines, by the operator's word."""
        return Machines.decode(self._http.get("/v1/machines"))

    def jobs(self) -> tuple[JobView, ...]:
        """This party's jobs."""
        return JobList.decode(self._http.get("/v1/jobs")).jobs

    def job(self, job_id: JobId) -> JobView:
        """One job."""
        return JobView.decode(self._http.get(f"/v1/jobs/{job_id}"))

    def progress(self, job_id: JobId) -> JobProgress:
        """A job beside its schedule: of one's own, or of one's own bundle."""
        return JobProgress.decode(self._http.get(f"/v1/jobs/{job_id}/progress"))

    def cancel_job(self, job_id: JobId) -> JobView:
        """Cancel a job."""
        return JobView.decode(self._http.post(f"/v1/jobs/{job_id}/cancel", b""))

    def reports(self, job_id: JobId, after: int | None) -> tuple[ReportView, ...]:
        """Sealed reports with a sequence number above `after`."""
        query = "" if after is None else f"?after={after}"
        return JobReports.decode(self._http.get(f"/v1/jobs/{job_id}/reports{query}")).reports

    def provider_report(self, job_id: JobId) -> bytes:
        """What is sealed to this party as the job's provider. Raises `NotFoundError` (not_found.report)."""
        return ProviderReportView.decode(self._http.get(f"/v1/jobs/{job_id}/provider-report")).sealed

    def model_manifest(self, model_id: ModelId) -> Signed:
        """A model's signed manifest."""
        return Signed.decode(self._http.get(f"/v1/models/{model_id}"))
