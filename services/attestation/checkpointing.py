"""Where a job stands, on the word of its live parameter server (side: enclave; ARCHITECTURE, decision 32).

In this order, each raises:

  (1) that launch signed it, as its own attempt's;
  (2) the job runs;
  (3) the order's schedule has a checkpoint at this tick, which is later than the newest one's; the newest again: the
      same answer.

The next launch of the parameter server gets it with its terms. The host that stored it can lose it, and then that
launch does not begin; it can't have another one taken for it.
"""

from common.broker_statements import keep_checkpoint_parts
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.errors import ConflictError, FreshnessError
from common.messages.checkpoint import CheckpointKept, KeepCheckpoint
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_job
from services.attestation.members import PARAMSERVER, live_launch


def keep_checkpoint(broker: BrokerContext, body: KeepCheckpoint, at: int) -> CheckpointKept:
    """Checks (1) to (3). Raises `FreshnessError` (1, 3), `AuthenticityError` (1) or `ConflictError` (1, 2)."""
    job, checkpoint = broker.job(body.job_id), body.checkpoint
    server = live_launch(job, PARAMSERVER, 0)
    if server is None:
        raise ConflictError("conflict.job_state", expected="an admitted parameter server")
    if checkpoint.attempt != server.attempt:  # (1)
        raise FreshnessError("freshness.attempt", expected=server.attempt, seen=checkpoint.attempt)
    parts = keep_checkpoint_parts(body.job_id, checkpoint)
    verify_signature(server.signing_public, body.statement, LAUNCH_STATEMENT, *parts)
    if job.state != "running":  # (2)
        raise ConflictError("conflict.job_state", expected="running", seen=job.state)
    if job.checkpoint == checkpoint:
        return CheckpointKept(job_id=job.job_id)
    newest = 0 if job.checkpoint is None else job.checkpoint.tick
    if checkpoint.tick <= newest or not job.order.schedule.has_checkpoint(checkpoint.tick):  # (3)
        raise FreshnessError("freshness.checkpoint", expected=f"one later than tick {newest}", seen=checkpoint.tick)
    kept = job.model_copy(update={"checkpoint": checkpoint})
    subjects = of_job(broker, job, launch=server.signing_public, document=checkpoint.object.root)
    broker.state.commit(Decision("keep-checkpoint", subjects), at, kept)
    return CheckpointKept(job_id=job.job_id)
