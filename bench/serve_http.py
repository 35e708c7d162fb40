"""A connection of the load generator: HTTP/1.1 kept open, a request out, its answer in (side: owner).

The same few lines ask every contender, so that what asking costs is the same for all. RFC 9112: bodies are counted by
Content-Length or come in chunks; anything else is an error.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 2.0
"""After which a connection is made anew: uvicorn closes one that was idle for 5 s."""

_HEAD_BYTES: Final = 1 << 16


class BrokenAnswerError(ConnectionError):
    """Not HTTP/1.1 as this reads it."""


@dataclass(frozen=True)
class Reply:
    """Status and body."""

    status: int
    body: bytes


class Connection:
    """To one server, opened when it is first used and again after an error. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    @property
    def authority(self) -> str:
        """Host and port, as a signature names them."""
        return f"127.0.0.1:{self._port}"

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer. Raises `ConnectionError` or `TimeoutError`; the connection is closed then."""
        lines = [f"POST {path} HTTP/1.1", f"host: {self.authority}", f"content-length: {len(body)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "\r\n"])
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await self._open()
                writer.write(head.encode("latin-1") + body)
                return await self._read(reader)
        except asyncio.IncompleteReadError as cause:
            self.close()
            raise ConnectionResetError("closed within an answer") from cause
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the connection."""
        if self._streams is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if time.monotonic() > self._used + IDLE_SECONDS:
            self.close()
        if self._streams is None:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=_HEAD_BYTES)
        self._used = time.monotonic()
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> Reply:
        status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = await _read_chunks(reader)
        else:
            raise BrokenAnswerError("an answer without a length")
        self._used = time.monotonic()
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, body)


def parse_head(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers by lower-case name. Raises `BrokenAnswerError`."""
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = first.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdecimal():
        raise BrokenAnswerError("no status line of HTTP/1.1")
    parts = (line.partition(":") for line in lines)
    return int(rest[:3]), {name.lower(): value.strip() for name, _, value in parts}


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
