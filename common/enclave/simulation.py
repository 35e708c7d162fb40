"""The enclave's end of the simulated platform (side: enclave).

Evidence and sealing keys come over the private socket that the launcher left at descriptor 3, never through the door.
"""

import os
import socket
import threading
from pathlib import Path
from typing import Final, Self

from common.crypto.keys import SecretKey
from common.enclave.private_socket import GRANTED, MAX_PACKET_BYTES, Ask
from common.enclave.trust_settings import TrustSettings
from common.errors import UnavailableError
from common.identifiers import MrEnclave
from common.messages.evidence import SgxDcapEvidence, TrustLevel

_PRIVATE_SOCKET: Final = 3
_TRUST_SETTINGS: Final = Path(__file__).parents[2] / "trust_settings.json"
"""Beside the code in the snapshot, measured with it. A checkout has no such file."""


class SimulationRuntime:
    """`EnclaveRuntime` on a simulated platform."""

    trust_level: Final = TrustLevel.SIMULATION

    def __init__(self, private: socket.socket, trust_settings: TrustSettings) -> None:
        self._private, self._lock = private, threading.Lock()
        self.trust_settings: Final = trust_settings
        self.measurement: Final = MrEnclave.of(self._ask(Ask.MEASUREMENT, b""))

    @classmethod
    def connect(cls) -> Self:
        """The launcher's socket. Raises `UnavailableError` (unavailable.launcher) where there is none."""
        try:
            os.fstat(_PRIVATE_SOCKET)
            settings = TrustSettings.decode(_TRUST_SETTINGS.read_bytes())
            private = socket.socket(fileno=os.dup(_PRIVATE_SOCKET))
        except OSError as cause:
            raise UnavailableError("unavailable.launcher", expected="to run inside an enclave") from cause
        if (private.family, private.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            private.close()
            raise UnavailableError("unavailable.launcher", expected="the launcher's private socket")
        return cls(private, settings)

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
