"""Is this the receipt of an answer that the stated enclave gave? (side: verifier: anybody to whom a user shows one)

Offline: what is believed is the verifier's own (pinned release keys, roots, broker, known inventory of machines), all
else stands in the file. In this order, for each receipt; each raises and none can be skipped:

  (1) a proof beside it is of the launch key that it names, and that key signed it as it is;
  (2) that proof stands under the verifier's pinned release and broker: all nine checks of client/query_verification, at
      the receipt's time, for the model and manifest that the receipt names, so the quote binds the key;
  (3) the receipt's measurement is the quote's, and its placement the one that was verified;
  (4) user and model are those that the verifier asks for, if he does;
  (5) each opening that is shown is what the receipt commits to: there are as many as receipts, in their order.

What the verifier must still do: know from elsewhere that the user's key, or the manifest, is of whom or what he means.
What is *not* checked: who signed the grant (the broker judged it before it gave the budget), and that the time is no
earlier than the true one (the enclave's clock is a lower bound; ARCHITECTURE, decision 8). Machines are held against
the newest inventory that the verifier knows, also those that were good when the receipt was signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from client.query_verification import QueryPins, VerifiedEnclave, verify_query_enclave
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import Digest, ModelId, PartyKey
from common.messages.placement import QueryEnclaveProof
from common.messages.receipt import Opened, Receipt, ReceiptFile, ReceiptOpenings
from common.receipts import commitment, require_signature


@dataclass(frozen=True)
class ReceiptPins:
    """What the verifier of a receipt holds fixed. `user` and `model_id`: whose and which it must be, if he asks."""

    query: QueryPins
    broker: PartyKey
    user: PartyKey | None = None
    model_id: ModelId | None = None


@dataclass(frozen=True)
class _Claimed:
    model_id: ModelId
    manifest: Digest
    broker: PartyKey
    release: Digest


def verify_receipt_file(file: ReceiptFile, pins: ReceiptPins, *shown: ReceiptOpenings) -> tuple[VerifiedEnclave, ...]:
    """Make all five checks; which enclave signed each receipt.

    Raises `AuthenticityError` (1, 2), `AppraisalError` (2 to 5), `FreshnessError` (2) or `FormatError` (2).
    """
    enclaves = tuple(verify_receipt(receipt, file.proofs, pins) for receipt in file.receipts)
    for openings in shown:
        require_opened(file.receipts, openings)  # (5)
    return enclaves


def verify_receipt(receipt: Receipt, proofs: Sequence[QueryEnclaveProof], pins: ReceiptPins) -> VerifiedEnclave:
    """Checks (1) to (4) of one receipt; which enclave signed it."""
    proof = next((one for one in proofs if one.binding.signing_public == receipt.launch), None)
    if proof is None:  # (1)
        raise AuthenticityError("authenticity.receipt", expected=f"evidence of launch {receipt.launch}", seen="none")
    try:
        require_signature(receipt)  # (1)
    except AuthenticityError as cause:
        raise AuthenticityError("authenticity.receipt", expected=f"a signature by {receipt.launch}") from cause
    claimed = _Claimed(receipt.model_id, receipt.manifest, pins.broker, pins.query.release.digest)
    enclave = verify_query_enclave(proof, claimed, pins.query, receipt.time)  # (2)
    _require((receipt.measurement, receipt.placement), (enclave.measurement, enclave.placement_digest))  # (3)
    _require(receipt.user, pins.user or receipt.user)  # (4)
    _require(receipt.model_id, pins.model_id or receipt.model_id)  # (4)
    return enclave


def require_opened(receipts: Sequence[Receipt], shown: ReceiptOpenings) -> None:
    """Check (5). Raises `AppraisalError` (appraisal.receipt)."""
    _require([commitment(shown.opens, one) for one in shown.openings], [_said(one, shown.opens) for one in receipts])


def _said(receipt: Receipt, what: Opened) -> Digest:
    return receipt.query if what == "query" else receipt.answer


def _require(seen: object, expected: object) -> None:
    if seen != expected:
        raise AppraisalError("appraisal.receipt", expected=_text(expected), seen=_text(seen))


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
