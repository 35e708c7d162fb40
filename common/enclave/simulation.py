"""The enclave's end of the simulated platform (side: enclave).

Evidence and sealing keys come over the private socket that the launcher left at descriptor 3, never through the door.
"""

import os
import socket
import threading
from typing import Final, Protocol, Self

from common.crypto.keys import SecretKey
from common.enclave.private_socket import GRANTED, MAX_PACKET_BYTES, PLATFORM_VARIABLE, Ask, StreamPackets
from common.enclave.trust_settings import TrustSettings, measured_trust_settings
from common.errors import UnavailableError
from common.identifiers import MrEnclave
from common.messages.evidence import SgxDcapEvidence, TrustLevel

_PRIVATE_SOCKET: Final = 3


class Packets(Protocol):
    """One packet out, one packet back."""

    def sendall(self, packet: bytes, /) -> None:
        """Send one."""

    def recv(self, most: int, /) -> bytes:
        """Receive one."""


class SimulationRuntime:
    """`EnclaveRuntime` on a simulated platform."""

    trust_level: Final = TrustLevel.SIMULATION

    def __init__(self, private: Packets, trust_settings: TrustSettings) -> None:
        self._private, self._lock = private, threading.Lock()
        self.trust_settings: Final = trust_settings
        self.measurement: Final = MrEnclave.of(self._ask(Ask.MEASUREMENT, b""))

    @classmethod
    def connect(cls) -> Self:
        """The launcher's socket. Raises `UnavailableError` (unavailable.launcher) where there is none."""
        try:
            os.fstat(_PRIVATE_SOCKET)
            settings = measured_trust_settings()
            private = socket.socket(fileno=os.dup(_PRIVATE_SOCKET))
        except OSError as cause:
            raise UnavailableError("unavailable.launcher", expected="to run inside an enclave") from cause
        if (private.family, private.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            private.close()
            raise UnavailableError("unavailable.launcher", expected="the launcher's private socket")
        return cls(private, settings)

    @classmethod
    def connect_under_gramine(cls) -> Self:
        """The launcher's connection under `gramine-direct`. Raises `UnavailableError` (unavailable.launcher)."""
        try:
            port, token = os.environ[PLATFORM_VARIABLE].split(":")
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.connect(("127.0.0.1", int(port)))
            packets = StreamPackets(connection)
            packets.sendall(bytes.fromhex(token))
            return cls(packets, measured_trust_settings())
        except (OSError, KeyError, ValueError) as cause:
            raise UnavailableError("unavailable.launcher", expected=f"{PLATFORM_VARIABLE}=PORT:TOKEN") from cause

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        """A fresh quote over 64 bytes."""
        return SgxDcapEvidence.decode(self._ask(Ask.EVIDENCE, report_data))

    def sealing_key(self, label: bytes) -> SecretKey:
        """The platform's key for this measurement and label."""
        return SecretKey(self._ask(Ask.SEALING_KEY, label))

    def _ask(self, what: Ask, body: bytes) -> bytes:
        try:
            with self._lock:
                self._private.sendall(bytes([what]) + body)
                reply = self._private.recv(MAX_PACKET_BYTES)
        except OSError as cause:
            raise UnavailableError("unavailable.launcher", expected="an answer of the platform") from cause
        if reply[:1] != GRANTED:
            raise UnavailableError("unavailable.launcher", expected=f"an answer to {what.name}")
        return reply[1:]
