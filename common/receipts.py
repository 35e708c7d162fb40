"""What a receipt's signature and commitments are over (side: library: query enclave, user, verifier).

    signature   RECEIPT: query, answer (commitments, 32 each), user (32), grant id, answers left (8), model id,
                manifest, placement (32 each), measurement (hexadecimal), launch (32), time (8)
    salts       SHA-256(transcript(RECEIPT_SALT, salt, "query" or "answer")), so that one of them can be shown alone
    commitment  SHA-256(transcript(RECEIPT_COMMITMENT, "query" or "answer", its salt, content))
    content     query: the question without its padding; answer: dtype code (1), dimensions (1), zeros (2), sides of a
                row (8 x 4) of the model's answers, then the outcome without padding and receipt

The salt has 32 random bytes and travels in the sealed answer alone, so a commitment says nothing of its content, also
where there are few queries or answers to try. It binds: two contents of one commitment were a collision of SHA-256.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from common.crypto.digests import sha256, sha256_raw, transcript
from common.crypto.labels import RECEIPT, RECEIPT_COMMITMENT, RECEIPT_SALT
from common.crypto.signing import SigningKey, verify_signature
from common.errors import FormatError
from common.identifiers import Digest
from common.messages.query import MAX_DIMENSIONS, OUTCOME_HEAD, QUESTION_HEAD, RECEIPT_ROOM, QueryProfile
from common.messages.query_tensors import DTYPES, labels_of, told_bytes
from common.messages.receipt import Opened, Opening, Receipt

SALT_BYTES: Final = 32
NO_SIGNATURE: Final = bytes(64)
"""Of a receipt that is still to be signed."""

_TIME_END: Final = SALT_BYTES + 8
_SPEC_BYTES: Final = 4 + 4 * MAX_DIMENSIONS


@dataclass(frozen=True)
class ReceiptRoom:
    """What of a receipt travels in the sealed answer."""

    salt: bytes
    time: int
    signature: bytes

    def encode(self) -> bytes:
        """`RECEIPT_ROOM` bytes."""
        return self.salt + self.time.to_bytes(8, "big") + self.signature

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Of `RECEIPT_ROOM` bytes."""
        return cls(raw[:SALT_BYTES], int.from_bytes(raw[SALT_BYTES:_TIME_END], "big"), raw[_TIME_END:RECEIPT_ROOM])


def sign_receipt(unsigned: Receipt, key: SigningKey) -> Receipt:
    """The receipt with this launch key's signature in place of the one that is there."""
    return unsigned.model_copy(update={"signature": key.sign(RECEIPT, *receipt_parts(unsigned))})


def require_signature(receipt: Receipt) -> None:
    """The launch that the receipt names has signed it; else `AuthenticityError` (authenticity.signature)."""
    verify_signature(receipt.launch, receipt.signature, RECEIPT, *receipt_parts(receipt))


def receipt_parts(receipt: Receipt) -> tuple[bytes, ...]:
    """What its launch signs under RECEIPT."""
    return (
        receipt.query.raw(),
        receipt.answer.raw(),
        receipt.user.raw(),
        receipt.grant.encode(),
        receipt.answers_left.to_bytes(8, "big"),
        receipt.model_id.encode(),
        receipt.manifest.raw(),
        receipt.placement.raw(),
        receipt.measurement.encode(),
        receipt.launch.raw(),
        receipt.time.to_bytes(8, "big"),
    )


def opening_of(what: Opened, salt: bytes, content: bytes) -> Opening:
    """The opening of one of the two commitments under a receipt's salt."""
    return Opening(salt=sha256_raw(transcript(RECEIPT_SALT, salt, what.encode())), content=content)


def commitment(what: Opened, opening: Opening) -> Digest:
    """What a receipt says of it."""
    return sha256(transcript(RECEIPT_COMMITMENT, what.encode(), opening.salt, opening.content))


def query_content(padded: bytes, profile: QueryProfile) -> bytes:
    """A question, which was decoded before, without its padding."""
    return padded[: QUESTION_HEAD + int.from_bytes(padded[4:8], "big") * profile.input.row_bytes]


def answer_content(outcome: bytes, profile: QueryProfile) -> bytes:
    """An answered outcome of the model of `profile` without padding and receipt, behind what its rows are."""
    spec = profile.answer
    sides = b"".join(side.to_bytes(4, "big") for side in spec.shape).ljust(4 * MAX_DIMENSIONS, b"\0")
    head = bytes([1 + DTYPES.index(spec.dtype), len(spec.shape), 0, 0]) + sides
    return head + outcome[: OUTCOME_HEAD + int.from_bytes(outcome[4:8], "big") * told_bytes(outcome[0], spec)]


def rows_asked(content: bytes) -> NDArray[np.generic]:
    """The rows (rows, *row shape) of a query's content. Raises `FormatError` (format.receipt)."""
    return _rows(content[:2] + content[8:], content[4:8], content[QUESTION_HEAD:])


def labels_told(content: bytes) -> NDArray[np.uint32]:
    """The labels (rows,) of an answer's content. Raises `FormatError` (format.receipt)."""
    kind, count, body = content[_SPEC_BYTES:][:1], content[_SPEC_BYTES + 4 :][:4], content[_SPEC_BYTES + OUTCOME_HEAD :]
    beside = 0 if kind == b"\2" else 4 * int.from_bytes(count, "big")
    if kind in {b"\1", b"\3"} and 0 < beside <= len(body) and (kind == b"\3" or beside == len(body)):
        labels = np.frombuffer(body[:beside], dtype="<u4")
        if kind == b"\3":
            _rows(content[:2] + content[4:], count, body[beside:])
        return labels
    return labels_of(_rows(content[:2] + content[4:], count, body))


def _rows(head: bytes, count: bytes, body: bytes) -> NDArray[np.generic]:
    """`head`: dtype code, dimensions, sides. Neither no rows nor rows of nothing are any."""
    try:
        sides = [int.from_bytes(head[at : at + 4], "big") for at in range(2, 2 + 4 * min(head[1], MAX_DIMENSIONS), 4)]
        rows = np.frombuffer(body, dtype=np.dtype(DTYPES[head[0] - 1]).newbyteorder("<"))
        if rows.size:
            return rows.reshape(int.from_bytes(count, "big"), *sides)
    except (IndexError, ValueError) as cause:
        raise FormatError("format.receipt", expected="the content of a query or answer") from cause
    raise FormatError("format.receipt", expected="at least one row", seen="none")
