"""Bodies of requests: of a documented kind, and read no further than they may be long (side: host)."""

from typing import Final

from fastapi import Request

from common.errors import FormatError
from common.messages.base import MAX_MESSAGE_BYTES

MEDIA_TYPES: Final = frozenset({"", "application/json", "application/octet-stream"})
"""What a body may be called. No form and no plain text: those a browser sends anywhere, for any page, unasked."""

_LENGTH_DIGITS: Final = 15


async def read_body(request: Request, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """The whole body.

    Raises `FormatError`: format.media_type for one that is called otherwise, format.too_large as soon as it is, or
    says that it is, longer than `limit`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise FormatError("format.media_type", expected=sorted(MEDIA_TYPES))
    stated = request.headers.get("content-length", "0")
    if not stated.isdecimal() or len(stated) > _LENGTH_DIGITS or int(stated) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> FormatError:
    return FormatError("format.too_large", expected=f"at most {limit} bytes")
