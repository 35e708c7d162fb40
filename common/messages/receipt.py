"""Receipts of answers, and what is shown with them (side: library).

A receipt says that one enclave gave one answer to one query, without saying either: it has their salted commitments.
Whoever is shown an *opening*, which has the salt, can hold query or answer against it. What is signed, and what the
commitments are over, stands in common/receipts; docs/receipts.md says what a receipt proves.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import CodeMeasurement, Digest, GrantId, ModelId, PartyKey
from common.messages.base import Count, Message, Seconds, Signature64
from common.messages.placement import QueryEnclaveProof
from common.messages.signed import Signed

MAX_RECEIPTS: Final = 4096
MAX_RECEIPT_FILE_BYTES: Final = 16 << 20
MAX_OPENINGS_BYTES: Final = 1 << 30
"""Of a file with openings: base64 of all queries of a call."""

Opened = Literal["query", "answer"]


class Receipt(Message):
    """Signed by the launch key that `launch` names, which the quote of its proof binds (RECEIPT, common/receipts).

    `query` and `answer` are salted commitments. `user` asked under `grant`, of which `answers_left` were left. `time`
    is the enclave's, a lower bound. `measurement` is that of its code, `placement` the digest of the broker's document.
    """

    type: Literal["receipt"] = "receipt"
    version: Literal[1] = 1
    query: Digest
    answer: Digest
    user: PartyKey
    grant: GrantId
    answers_left: Count
    model_id: ModelId
    manifest: Digest
    placement: Digest
    measurement: CodeMeasurement
    launch: PartyKey
    time: Seconds
    signature: Signature64


class ReceiptFile(Message):
    """Receipts of one user's answers, in the order in which they came, and all that is needed to verify them offline.

    `proofs`: of each launch that signed one of them, its evidence with collateral. `release` is the one that the user
    had pinned; a verifier believes it by its signatures alone.
    """

    type: Literal["receipt-file"] = "receipt-file"
    version: Literal[1] = 1
    receipts: Annotated[tuple[Receipt, ...], Field(min_length=1, max_length=MAX_RECEIPTS)]
    proofs: Annotated[tuple[QueryEnclaveProof, ...], Field(min_length=1, max_length=64)]
    release: Signed


class Opening(Message):
    """What one commitment is over: `content`, under `salt`. The salts of a receipt's two commitments are unrelated."""

    salt: Annotated[bytes, Field(min_length=32, max_length=32)]
    content: Annotated[bytes, Field(max_length=32 << 20)]


class ReceiptOpenings(Message):
    """The queries, or the answers, of all receipts of one file, in their order. Whoever has it reads them."""

    type: Literal["receipt-openings"] = "receipt-openings"
    version: Literal[1] = 1
    opens: Opened
    openings: Annotated[tuple[Opening, ...], Field(min_length=1, max_length=MAX_RECEIPTS)]
