"""The private socket between a simulated enclave and its launcher, the only way to evidence (side: library).

A unix SOCK_SEQPACKET pair made by the launcher: holding it is being the enclave that was measured. Each request is one
packet, each reply one packet; the enclave asks, the launcher answers in order.

  request  kind (1 byte), body          MEASUREMENT: empty | EVIDENCE: report_data (64) | SEALING_KEY: label
  reply    0, body                      mr_enclave (32)    | SgxDcapEvidence (JSON)     | key (32)
           1                            the request is malformed

Under `gramine-direct`, where no socket can be inherited, the same packets travel over a loopback connection, each
behind its length (4 bytes, big-endian). The first one shows the launch's token.
"""

import socket
from enum import IntEnum
from typing import Final

MAX_PACKET_BYTES: Final = 128 << 10
"""Within the kernel's default send buffer (208 KiB); evidence has about 14 KB."""

MAX_LABEL_BYTES: Final = 256
GRANTED: Final = b"\0"
MALFORMED: Final = b"\1"


PLATFORM_VARIABLE: Final = "CLOISTER_PLATFORM"
"""`PORT:TOKEN` of that connection, in the environment that a launch's own manifest sets."""

TOKEN_BYTES: Final = 32


class StreamPackets:
    """Packets over a stream; one thread at a time. Raises `OSError` when the other end is gone."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def sendall(self, packet: bytes) -> None:
        """One packet."""
        self._stream.sendall(len(packet).to_bytes(4, "big") + packet)

    def recv(self, most: int = MAX_PACKET_BYTES) -> bytes:
        """One packet of at most so many bytes."""
        length = int.from_bytes(self._exactly(4), "big")
        if length > most:
            raise OSError(f"a packet of {length} bytes")
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self._stream.recv(count - len(received))
            if not part:
                raise ConnectionError("the other end is gone")
            received += part
        return received


class Ask(IntEnum):
    """What an enclave asks its platform."""

    MEASUREMENT = 1
    EVIDENCE = 2
    SEALING_KEY = 3
