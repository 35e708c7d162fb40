"""A receipt by hand: what `cloister verify receipt` does, offline (side: verifier).

Reads: the receipt, openings that its user shows, and this party's pins. Checks: client/receipt_verification.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.broker import trust_floor
from client.context import Party
from client.events import Event, ReceiptVerified
from client.platforms import platform_rules
from client.query_verification import QueryPins
from client.receipt_verification import ReceiptPins, verify_receipt_file
from client.receipts import read_openings, read_receipt
from common.errors import AppraisalError
from common.identifiers import Digest, ModelId, PartyKey
from common.messages.receipt import ReceiptFile
from common.messages.signed import Signed
from common.receipts import labels_told, rows_asked


@dataclass(frozen=True)
class Wanted:
    """Whose receipt it must be, of which model, under which release; None: whoever's, any, the pinned one."""

    user: PartyKey | None = None
    model_id: ModelId | None = None
    release: Digest | None = None


def verify(
    party: Party, source: Path, wanted: Wanted, query: Path | None = None, answer: Path | None = None
) -> Iterator[Event]:
    """Verify all receipts of a file against this party's pins, and what is shown of them. Ends with `ReceiptVerified`.

    Raises what `verify_receipt_file` raises.
    """
    file, trust = read_receipt(source), party.trust
    queries = None if query is None else read_openings(query, "query")
    answers = None if answer is None else read_openings(answer, "answer")
    pins = QueryPins(
        trust.release if wanted.release is None else _release_of(file, wanted.release),
        trust.trust_settings,
        trust_floor(party),
        platform_rules(party, trust.trust_settings),
    )
    shown = [one for one in (queries, answers) if one is not None]
    expected = ReceiptPins(pins, trust.broker.signing_public, wanted.user, wanted.model_id)
    enclaves = verify_receipt_file(file, expected, *shown)
    for number, (receipt, enclave) in enumerate(zip(file.receipts, enclaves, strict=True)):
        asked = None if queries is None else rows_asked(queries.openings[number].content)
        told = None if answers is None else labels_told(answers.openings[number].content)
        yield ReceiptVerified(
            model_id=receipt.model_id,
            manifest=receipt.manifest,
            user=receipt.user,
            grant=receipt.grant,
            answers_left=receipt.answers_left,
            time=receipt.time,
            measurement=receipt.measurement,
            trust_level=enclave.trust_level,
            asked=None if asked is None else f"{asked.dtype} of shape {asked.shape}",
            labels=None if told is None else tuple(int(label) for label in told),
        )


def _release_of(file: ReceiptFile, wanted: Digest) -> Signed:
    """The release that the file carries, if it is the wanted one; its signatures are checked with the receipts."""
    if file.release.digest != wanted:
        raise AppraisalError("appraisal.release", expected=wanted, seen=file.release.digest)
    return file.release
