"""How a TPM 2.0 is spoken to: commands, sessions, primary keys (side: host; Part 3 of the specification, by name).

Everything is authorised by empty passwords, the hierarchies' as Linux leaves them.
"""

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from common.errors import UnavailableError
from common.tpm.layouts import SHA256, sized
from common.tpm_host.device import TpmDevice

_CREATE_PRIMARY, _ACTIVATE = 0x131, 0x147
_POLICY_SECRET, _FLUSH, _START_SESSION = 0x151, 0x165, 0x176
_NULL, _PASSWORD = 0x40000007, 0x40000009
ENDORSEMENT: Final = 0x4000000B
_HMAC_SESSION, _POLICY_SESSION = 0, 1
CONTINUE, AUDIT = 0x01, 0x80
NULL_ALGORITHM: Final = 0x0010

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_HEADER: Final = struct.Struct(">HII")
_BUSY: Final = (0x908, 0x90A, 0x920, 0x922)
"""TPM_RC_YIELDED, TESTING, NV_RATE, RETRY (Part 2): nothing was done; say it again."""

_BUSY_SECONDS: Final = 30.0
_HANDLES: Final = {_CREATE_PRIMARY: 1, _START_SESSION: 1}


class TpmRefusedError(UnavailableError):
    """The TPM answered a command with a response code that is not success."""

    def __init__(self, command: int, code: int) -> None:
        super().__init__("unavailable.tpm", expected=f"command {command:#x}", seen=f"response code {code:#x}")
        self.response_code = code


@dataclass(frozen=True)
class Answer:
    """Of a command that succeeded: a handle, if it makes one, and its parameters."""

    handle: int
    parameters: bytes

    def first(self) -> bytes:
        """The TPM2B that it begins with. Raises `UnavailableError` (unavailable.tpm)."""
        end = 2 + int.from_bytes(self.parameters[:2], "big")
        if len(self.parameters) < max(end, 2):
            raise UnavailableError("unavailable.tpm", expected="a whole response")
        return self.parameters[2:end]


@dataclass(frozen=True)
class Attested:
    """A step's proof: TPMS_ATTEST, TPMT_SIGNATURE."""

    attested: bytes
    signature: bytes


class TpmCommands:
    """One TPM and what was loaded into it. Not for several threads at once."""

    def __init__(self, device: TpmDevice) -> None:
        self._device = device
        self._loaded: list[int] = []

    def close(self) -> None:
        """Flush what was loaded, and let go of the device."""
        try:
            for one in self._loaded:
                self.run(_FLUSH, parameters=handle(one))
        except UnavailableError:
            pass  # it is gone, and they with it
        finally:
            self._device.close()

    def activate_with(self, endorsement: int, attestation: int, credential: bytes, secret: bytes) -> bytes:
        """What a credential for two loaded keys holds (TPM2_ActivateCredential)."""
        with self.session(_POLICY_SESSION) as session:
            self.run(_POLICY_SECRET, handle(ENDORSEMENT) + handle(session), 3 * sized(b"") + bytes(4), password())
            answer = self.run(
                _ACTIVATE,
                handle(attestation) + handle(endorsement),
                sized(credential) + sized(secret),
                password() + authorised(session, CONTINUE),
            )
        return answer.first()

    def create_primary(self, template: bytes) -> tuple[int, bytes]:
        """Handle and public area of what the endorsement hierarchy makes of a template: always the same key."""
        parameters = sized(2 * sized(b"")) + sized(template) + sized(b"") + bytes(4)
        answer = self.run(_CREATE_PRIMARY, handle(ENDORSEMENT), parameters, password())
        self._loaded.append(answer.handle)
        return answer.handle, answer.first()

    @contextmanager
    def session(self, kind: int = _HMAC_SESSION) -> Iterator[int]:
        """A session without salt or binding: its key is empty, and so are its HMACs (Part 1, "HMAC Computation")."""
        parameters = sized(os.urandom(16)) + sized(b"") + bytes([kind])
        parameters += NULL_ALGORITHM.to_bytes(2, "big") + SHA256.to_bytes(2, "big")
        session = self.run(_START_SESSION, 2 * handle(_NULL), parameters).handle
        try:
            yield session
        finally:
            self.run(_FLUSH, parameters=handle(session))

    def run(self, command: int, handles: bytes = b"", parameters: bytes = b"", authorisations: bytes = b"") -> Answer:
        """One command. Raises `UnavailableError` (unavailable.tpm), `TpmRefusedError` where the TPM says no."""
        area = len(authorisations).to_bytes(4, "big") + authorisations if authorisations else b""
        body = handles + area + parameters
        tag = _SESSIONS if authorisations else _NO_SESSIONS
        raw = _HEADER.pack(tag, _HEADER.size + len(body), command) + body
        give_up = time.monotonic() + _BUSY_SECONDS
        while True:
            response = self._device.exchange(raw)
            if len(response) < _HEADER.size:
                raise UnavailableError("unavailable.tpm", expected="a response")
            tag, _, code = _HEADER.unpack_from(response)
            if code not in _BUSY or time.monotonic() > give_up:
                break
            time.sleep(0.01)
        if code:
            raise TpmRefusedError(command, code)
        return _parse_answer(response[_HEADER.size :], _HANDLES.get(command, 0), with_sessions=tag == _SESSIONS)


def _parse_answer(body: bytes, handles: int, *, with_sessions: bool) -> Answer:
    made, rest = int.from_bytes(body[: 4 * handles], "big"), body[4 * handles :]
    if with_sessions:
        size = int.from_bytes(rest[:4], "big")
        rest = rest[4 : 4 + size]
    return Answer(made, rest)


def handle(number: int) -> bytes:
    """A handle."""
    return number.to_bytes(4, "big")


def password() -> bytes:
    """The empty password (TPM_RS_PW)."""
    return authorised(_PASSWORD, 0)


def authorised(session: int, attributes: int) -> bytes:
    """TPMS_AUTH_COMMAND with neither nonce nor HMAC."""
    return handle(session) + sized(b"") + bytes([attributes]) + sized(b"")
