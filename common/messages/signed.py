"""Signed documents: exact payload bytes and who signed them (side: library).

A signature is Ed25519 over transcript(SIGNED_DOCUMENT, payload type, payload), so it is over bytes, never over JSON
that somebody re-encoded, and a document of one type never passes for another (the idea of DSSE's PAE).
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from common.crypto.digests import sha256
from common.crypto.labels import SIGNED_DOCUMENT
from common.crypto.signing import SigningKey, verify_signature
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest, PartyKey
from common.messages.base import Message


class Signature(Message):
    """One party's signature."""

    signer: PartyKey
    signature: Annotated[bytes, Field(min_length=64, max_length=64)]


class Signed(Message):
    """An envelope. `payload` is the encoded message whose `type` field is `payload_type`."""

    type: Literal["signed"] = "signed"
    version: Literal[1] = 1
    payload_type: Annotated[str, Field(max_length=64)]
    payload: Annotated[bytes, Field(max_length=1 << 20)]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=16)]

    @property
    def digest(self) -> Digest:
        """Digest of the payload: the document's name, the same whoever signs it."""
        return sha256(self.payload)

    @property
    def unverified_signer(self) -> PartyKey:
        """Who claims to have signed first; nothing is checked."""
        return self.signatures[0].signer


T = TypeVar("T", bound=Message)

KNOWN_DOCUMENTS = 1024
"""Read documents that are remembered: a broker asks the same ones again and again."""


def sign(message: Message, *keys: SigningKey) -> Signed:
    """`message` with the signature of each key."""
    payload = message.encode()
    kind = str(getattr(message, "type"))  # noqa: B009 - every concrete message has it, the base class has not
    return Signed(
        payload_type=kind, payload=payload, signatures=tuple(signature_by(key, kind, payload) for key in keys)
    )


def signature_by(key: SigningKey, payload_type: str, payload: bytes) -> Signature:
    """One more signature over the exact payload of a document."""
    return Signature(signer=key.party, signature=key.sign(SIGNED_DOCUMENT, payload_type.encode(), payload))


def countersign(signed: Signed, key: SigningKey) -> Signed:
    """The same document with one more signature, over the very bytes that the others signed. Checks nothing."""
    own = signature_by(key, signed.payload_type, signed.payload)
    others = tuple(one for one in signed.signatures if one.signer != own.signer)
    return signed.model_copy(update={"signatures": (*others, own)})


def open_signed(signed: Signed, kind: type[T], allowed: Collection[PartyKey], *, threshold: int = 1) -> T:
    """The message, if at least `threshold` different keys of `allowed` signed it and no signature is wrong.

    Raises `AuthenticityError` (authenticity.signature) or `FormatError`.
    """
    expected_type = kind.model_fields["type"].default
    if signed.payload_type != expected_type:
        raise FormatError("format.message", expected=expected_type, seen=signed.payload_type)
    require_right_signatures(signed)
    good = {one.signer for one in signed.signatures} & set(allowed)
    if len(good) < threshold:
        raise AuthenticityError(
            "authenticity.signature",
            expected=f"{threshold} of {sorted(allowed)}",
            seen=sorted(one.signer for one in signed.signatures),
        )
    return kind.decode(signed.payload)


def require_right_signatures(signed: Signed) -> None:
    """Every signature is its signer's; whether the signers are the right ones is another question.

    Raises `AuthenticityError` (authenticity.signature).
    """
    for one in signed.signatures:
        verify_signature(one.signer, one.signature, SIGNED_DOCUMENT, signed.payload_type.encode(), signed.payload)


def read_document(signed: Signed, kind: type[T]) -> T:
    """The message of a document whose signatures were checked before. Documents that repeat are parsed once."""
    message = _read(kind, signed.payload)
    if not isinstance(message, kind):
        raise TypeError(kind)
    return message


@lru_cache(maxsize=KNOWN_DOCUMENTS)
def _read(kind: type[Message], payload: bytes) -> Message:
    return kind.decode(payload)
