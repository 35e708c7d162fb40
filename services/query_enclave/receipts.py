"""Receipts of answers, signed here and sealed with them (side: enclave).

Holds: the launch's signing key, which the quote binds.  A question that asks for a receipt gets it in the room that
each outcome has, so the host sees neither that one was asked for nor that one was given; a refusal has none. What it
takes to sign, 0.1 ms, passes before the quantum ends. Nothing in a receipt is the provider code's to choose.
"""

import secrets
from dataclasses import dataclass

from common.crypto.signing import SigningKey
from common.identifiers import CodeMeasurement, GrantId
from common.messages.query import QueryProfile
from common.messages.query_tensors import receipt_wanted, with_receipt
from common.messages.receipt import Receipt
from common.receipts import (
    NO_SIGNATURE,
    SALT_BYTES,
    ReceiptRoom,
    answer_content,
    commitment,
    opening_of,
    query_content,
    sign_receipt,
)
from services.query_enclave.grants import Now, Placed
from services.query_enclave.sessions import Session


@dataclass(frozen=True)
class Receipts:
    """Signs for one launch. `measurement` is its own, as its quotes state it."""

    key: SigningKey
    measurement: CodeMeasurement
    placed: Placed
    profile: QueryProfile
    now: Now

    def attach(self, session: Session, question: bytes, outcome: bytes) -> bytes:
        """The answered outcome, with a receipt where the (padded) question asks for one."""
        if not receipt_wanted(question):
            return outcome
        salt, at = secrets.token_bytes(SALT_BYTES), self.now()
        query = opening_of("query", salt, query_content(question, self.profile))
        answer = opening_of("answer", salt, answer_content(outcome, self.profile))
        receipt = Receipt(
            query=commitment("query", query),
            answer=commitment("answer", answer),
            user=session.terms.user,
            grant=GrantId.of(session.grant.digest),
            answers_left=int.from_bytes(outcome[8:16], "big"),
            model_id=self.placed.model_id,
            manifest=self.placed.manifest,
            placement=self.placed.document,
            measurement=self.measurement,
            launch=self.key.party,
            time=at,
            signature=NO_SIGNATURE,
        )
        return with_receipt(outcome, ReceiptRoom(salt, at, sign_receipt(receipt, self.key).signature).encode())
