"""What is said to and by the key broker outside of signed documents (side: library).

A statement is an Ed25519 signature over transcript(label, parts...): these functions give the parts, in the order that
both ends use. Below, how the detail of a refusal is wrapped for the one party that may read it.
"""

from common.crypto.wrapping import WrappingKey, wrap
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.key_binding import refusal_detail_info
from common.leakage import AnswerSize
from common.messages.checkpoint import Checkpoint
from common.messages.collateral import Marks, SeenCollateral
from common.messages.log_heads import LogHead
from common.messages.refusal_detail import RefusalDetail


def head_seen_parts(broker: Digest, boot_nonce: bytes, head: LogHead, collateral: Marks = ()) -> tuple[bytes, ...]:
    """LOG_HEAD_SEEN, by a witness: broker genesis (32), boot nonce (32), size (8, big-endian), root (32), epoch (8);
    where it tells of collateral, the digest (32) of these marks, too.
    """
    size, epoch = head.size.to_bytes(8, "big"), head.epoch.to_bytes(8, "big")
    told = (SeenCollateral(marks=collateral).digest.raw(),) if collateral else ()
    return broker.raw(), boot_nonce, size, head.root.raw(), epoch, *told


def complete_job_parts(job_id: JobId, outcome: str, manifest: Digest | None) -> tuple[bytes, ...]:
    """LAUNCH_STATEMENT, by a parameter server: `complete-job`, job id, outcome, manifest digest (32) or nothing."""
    return b"complete-job", job_id.encode(), outcome.encode(), b"" if manifest is None else manifest.raw()


def keep_checkpoint_parts(job_id: JobId, checkpoint: Checkpoint) -> tuple[bytes, ...]:
    """LAUNCH_STATEMENT, by a parameter server: `keep-checkpoint`, job id, attempt (8), tick (8), root (32) and chunks
    (8) of the object.
    """
    numbers = (number.to_bytes(8, "big") for number in (checkpoint.attempt, checkpoint.tick))
    kept = checkpoint.object
    return b"keep-checkpoint", job_id.encode(), *numbers, kept.root.raw(), kept.chunk_count.to_bytes(8, "big")


def draw_budget_parts(
    model_id: ModelId, grant: Digest, answers: int, size: AnswerSize, nonce: bytes
) -> tuple[bytes, ...]:
    """LAUNCH_STATEMENT, by a query enclave: `draw-budget`, model id, grant digest (32), answers (8), classes (8), bytes
    of a row's scores (8), request nonce.
    """
    numbers = (number.to_bytes(8, "big") for number in (answers, size.classes, size.row_bytes))
    return b"draw-budget", model_id.encode(), grant.raw(), *numbers, nonce


def wrap_refusal_detail(detail: RefusalDetail, request: Digest, party: PartyKey, report_key: bytes) -> bytes:
    """The detail, padded to one size with spaces, for the holder of `report_key` alone."""
    return wrap(detail.padded(), report_key, refusal_detail_info(request, party))


def open_refusal_detail(detail: bytes, request: Digest, party: PartyKey, report_key: WrappingKey) -> RefusalDetail:
    """The detail of a refusal of this request. Raises `AuthenticityError` for another's."""
    return RefusalDetail.decode(report_key.open(detail, refusal_detail_info(request, party)))
