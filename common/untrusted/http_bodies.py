"""Bodies of requests, read no further than they may be long (side: host)."""

from fastapi import Request

from common.errors import FormatError
from common.messages.base import MAX_MESSAGE_BYTES


async def read_body(request: Request, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """The whole body. Raises `FormatError` (format.too_large) as soon as it is longer than `limit`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise FormatError("format.too_large", expected=f"at most {limit} bytes")
    return bytes(body)
