"""The end of a job, on the word of its live parameter server (side: enclave).

In this order, each raises:

  (1) that launch signed outcome and manifest;
  (2) the job runs, or has ended in the same way: the same answer;
  (3) that launch signed the manifest, which ties order, data, bundle, schedule and admitted members as they are.

The job key and the seed end here; the model key stays if there is a model.
"""

from common.broker_statements import complete_job_parts
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.errors import AppraisalError, ConflictError, FormatError
from common.messages.jobs import Completed, CompleteJob
from common.messages.objects import ModelManifest
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_job
from services.attestation.members import PARAMSERVER, live_launch, require_recorded_members
from services.attestation.records import JobRecord, ModelRecord


def complete_job(broker: BrokerContext, body: CompleteJob, at: int) -> Completed:
    """Checks (1) to (3).

    Raises `AuthenticityError` (1, 3), `ConflictError` (2), `AppraisalError` or `FormatError` (3).
    """
    job = broker.job(body.job_id)
    server = live_launch(job, PARAMSERVER, 0)
    if server is None:
        raise ConflictError("conflict.job_state", expected="an admitted parameter server")
    digest = None if body.manifest is None else body.manifest.digest
    parts = complete_job_parts(body.job_id, body.outcome, digest)
    verify_signature(server.signing_public, body.statement, LAUNCH_STATEMENT, *parts)  # (1)
    if job.state != "running":  # (2)
        stored = None if job.manifest_document is None else job.manifest_document.digest
        if (job.state, stored) != (body.outcome, digest):
            raise ConflictError("conflict.job_state", expected="a running job", seen=job.state)
        return _completed(job)
    if (body.manifest is None) != (body.outcome == "failed"):
        raise FormatError("format.message", expected="a manifest, unless the job failed")
    if body.manifest is not None:  # (3)
        manifest = open_signed(body.manifest, ModelManifest, [server.signing_public])
        _require_manifest(broker, job, manifest)
    ended = _end(broker, job, body)
    models = [] if body.manifest is None else [ModelRecord(model_id=job.model_id, job_id=job.job_id)]
    subjects = of_job(broker, job, launch=server.signing_public, document=digest, job_outcome=body.outcome)
    broker.state.commit(Decision("complete-job", subjects), at, ended, *models)
    return _completed(ended)


def _end(broker: BrokerContext, job: JobRecord, body: CompleteJob) -> JobRecord:
    keys = None
    if body.manifest is not None:
        keys = broker.state.keys.seal_ring(job.job_id, model=broker.keys_of(job)["model"])
    return job.model_copy(
        update={"state": body.outcome, "keys": keys, "manifest_document": body.manifest, "checkpoint": None}
    )


def _completed(job: JobRecord) -> Completed:
    return Completed(job_id=job.job_id, model_id=None if job.manifest_document is None else job.model_id)


def _require_manifest(broker: BrokerContext, job: JobRecord, manifest: ModelManifest) -> None:
    order, datasets = job.order, broker.datasets_of(job)
    expected = {
        "model_id": job.model_id,
        "job_id": job.job_id,
        "order": job.order_document.digest,
        "datasets": order.datasets,
        "data_roots": tuple(part.root for data in datasets for part in data.manifest.parts),
        "bundle": order.bundle,
        "bundle_root": broker.bundle(order.bundle).publication.object.root,
        "schedule": order.schedule,
        "trust_level": job.trust_level.value,
        "answers_in": order.answers.lowest,
    }
    wrong = sorted(name for name, value in expected.items() if getattr(manifest, name) != value)
    if wrong:
        raise AppraisalError("appraisal.manifest", expected="the job's own values", seen=f"other {wrong}")
    require_recorded_members(job, manifest.members)
