"""Redis as a host sees it: every command while the tap is open (MONITOR), and every key now (side: host)."""

import codecs
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis

from tests.e2e.raw_bytes import flat

_LARGEST_READ: Final = 1 << 16


class CommandTap:
    """Collects Redis's own report of each command, arguments included."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._reader = self._socket.makefile("rb", buffering=_LARGEST_READ)
        self._socket.sendall(f"AUTH {address.password}\r\nMONITOR\r\n".encode())
        if [self._reader.readline() for _ in range(2)] != [b"+OK\r\n"] * 2:
            raise RuntimeError("Redis does not let itself be monitored")
        self._commands: list[bytes] = []
        self._thread = threading.Thread(target=self._run, name="command-tap", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str) -> Iterator["CommandTap"]:
        """Tap from now on, until the end of the block."""
        tap = cls(url)
        tap._thread.start()
        try:
            yield tap
        finally:
            tap._socket.shutdown(socket.SHUT_RDWR)
            tap._thread.join()
            tap._socket.close()

    def commands(self) -> list[bytes]:
        """What was executed so far; MONITOR's escapes are undone, so arguments are the bytes that were sent."""
        return list(self._commands)

    def _run(self) -> None:
        for line in self._reader:
            self._commands.append(bytes(codecs.escape_decode(line)[0]))


def stored_values(url: str) -> Iterator[tuple[str, bytes]]:
    """Every key with all that it holds."""
    redis: Any = Redis.from_url(url, protocol=2)
    readers = {
        b"string": redis.get,
        b"stream": redis.xrange,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
    }
    with contextlib.closing(redis):
        for key in redis.scan_iter():
            kind = redis.type(key)
            if kind in readers:  # an expired key has none
                yield key.decode(errors="replace"), key + b"\n" + flat(readers[kind](key))
