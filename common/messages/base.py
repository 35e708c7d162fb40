"""The base of every message: frozen, strict, closed, silent about its content (side: library).

A message names its `type` and `version`; a change is a new class beside the old one. Bytes travel as base64. A message
carries identifiers, digests, sizes and wrapped keys, never a key, a plaintext, a host path or a pickle.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import FormatError

MAX_MESSAGE_BYTES = 1 << 20
"""Largest encoded message that any parser reads. Bulk data travels in sealed objects, not in messages."""

Seconds = Annotated[int, Field(ge=0, le=1 << 40)]
"""Unix time, or a duration, in whole seconds."""

Count = Annotated[int, Field(ge=0, le=1 << 48)]
"""A non-negative count."""

Nonce = Annotated[bytes, Field(min_length=32, max_length=32)]
"""Fresh from whoever asks, or challenges."""

Signature64 = Annotated[bytes, Field(min_length=64, max_length=64)]
"""An Ed25519 signature (RFC 8032)."""


class Message(BaseModel):
    """Base class. `encode` and `decode` are the only way to and from the wire."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        allow_inf_nan=False,
        defer_build=True,  # under a lock of pydantic 2.14's, so threads may be the first to use a message
    )

    def encode(self) -> bytes:
        """Exact JSON bytes. Whoever signs or hashes the message does it over these, and keeps them."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, raw: bytes, *, limit: int = MAX_MESSAGE_BYTES) -> Self:
        """Parse. Raises `FormatError` naming the fields that are wrong, never their values."""
        if len(raw) > limit:
            raise FormatError("format.too_large", expected=f"at most {limit} bytes", seen=f"{len(raw)} bytes")
        try:
            return cls.model_validate_json(raw)
        except ValidationError as cause:
            wrong = ", ".join(
                sorted(
                    {
                        ".".join(map(str, e["loc"])) + f" ({e['type']})"
                        for e in cause.errors(include_url=False, include_context=False, include_input=False)
                    }
                )[:8]
            )
            raise FormatError("format.message", expected=cls.__name__, seen=f"wrong: {wrong}") from None


def build_now(*messages: type[Message]) -> None:
    """Make the validators of these now, and not when the first one comes: that takes milliseconds each."""
    for message in messages:
        message.model_rebuild()
