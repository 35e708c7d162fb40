"""Receipts that a user asks for, and the files in which they are kept (side: owner: the user's machine).

`cloister user query --receipt FILE` makes three files, each for its user alone, and durable:
  FILE         receipts and evidence: can be shown to anybody, and says nothing of queries and answers
  FILE.query   openings of the queries: whoever has it reads them
  FILE.answer  openings of the answers: likewise
A receipt is verified when it comes, as by whoever is shown it later: one that would not stand there raises here.
"""

from pathlib import Path
from typing import Final

from client.durable_file import replace_durably
from client.query_verification import QueryPins, VerifiedEnclave
from client.receipt_verification import ReceiptPins, verify_receipt
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, ConflictError, FormatError
from common.identifiers import CodeMeasurement, GrantId
from common.messages.placement import QueryEnclaveProof
from common.messages.query import QueryProfile
from common.messages.query_tensors import Answer
from common.messages.receipt import (
    MAX_OPENINGS_BYTES,
    MAX_RECEIPT_FILE_BYTES,
    Opened,
    Opening,
    Receipt,
    ReceiptFile,
    ReceiptOpenings,
)
from common.messages.signed import Signed
from common.receipts import ReceiptRoom, answer_content, commitment, opening_of, query_content

WHAT: Final[tuple[Opened, ...]] = ("query", "answer")


class ReceiptBook:
    """The receipts of one user's answers under one grant, in the order in which they came."""

    def __init__(self, user: SigningKey, grant: Signed, pins: QueryPins) -> None:
        self._user, self._grant, self._pins = user.party, grant, pins
        self._proofs: dict[str, QueryEnclaveProof] = {}
        self._openings: dict[Opened, list[Opening]] = {what: [] for what in WHAT}
        self.receipts: list[Receipt] = []

    def take(
        self, enclave: VerifiedEnclave, profile: QueryProfile, question: bytes, outcome: bytes, answer: Answer
    ) -> None:
        """Keep the receipt that came with this answer.

        Raises `AuthenticityError` (authenticity.receipt) for none or one that is not of exactly this, and what
        `verify_receipt` raises.
        """
        if answer.receipt is None:
            raise AuthenticityError("authenticity.receipt", expected="a receipt", seen="none")
        room = ReceiptRoom.parse(answer.receipt)
        query = opening_of("query", room.salt, query_content(question, profile))
        answered = opening_of("answer", room.salt, answer_content(outcome, profile))
        receipt = Receipt(
            query=commitment("query", query),
            answer=commitment("answer", answered),
            user=self._user,
            grant=GrantId.of(self._grant.digest),
            answers_left=answer.answers_left,
            model_id=enclave.placement.model_id,
            manifest=enclave.manifest_digest,
            placement=enclave.placement_digest,
            measurement=CodeMeasurement(enclave.measurement),
            launch=enclave.placement.launch,
            time=room.time,
            signature=room.signature,
        )
        verify_receipt(receipt, [enclave.proof], ReceiptPins(self._pins, enclave.broker))
        self._proofs[receipt.launch] = enclave.proof
        self.receipts.append(receipt)
        self._openings["query"].append(query)
        self._openings["answer"].append(answered)

    @property
    def file(self) -> ReceiptFile:
        """What can be shown to anybody."""
        return ReceiptFile(
            receipts=tuple(self.receipts), proofs=tuple(self._proofs.values()), release=self._pins.release
        )

    def openings(self, what: Opened) -> ReceiptOpenings:
        """All queries, or all answers."""
        return ReceiptOpenings(opens=what, openings=tuple(self._openings[what]))

    def write(self, path: Path) -> None:
        """The three files; openings first, so that a receipt never lacks them."""
        for what in WHAT:
            replace_durably(opening_path(path, what), self.openings(what).encode())
        replace_durably(path, self.file.encode())


def opening_path(path: Path, what: Opened) -> Path:
    """Where the openings lie beside a receipt."""
    return path.with_name(f"{path.name}.{what}")


def require_new(path: Path) -> None:
    """Raise `ConflictError` (conflict.receipt_file) where one of the three files is."""
    for one in (path, *(opening_path(path, what) for what in WHAT)):
        if one.exists():
            raise ConflictError("conflict.receipt_file", expected="a new file", seen=one)


def read_receipt(path: Path) -> ReceiptFile:
    """What a file says; nothing is verified. Raises `FormatError`."""
    return ReceiptFile.decode(path.read_bytes(), limit=MAX_RECEIPT_FILE_BYTES)


def read_openings(path: Path, what: Opened) -> ReceiptOpenings:
    """Openings of `what`. Raises `FormatError`, also for those of the other commitment."""
    openings = ReceiptOpenings.decode(path.read_bytes(), limit=MAX_OPENINGS_BYTES)
    if openings.opens != what:
        raise FormatError("format.receipt", expected=f"the opening of a receipt's {what}", seen=openings.opens)
    return openings
