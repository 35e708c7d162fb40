"""The dozen TPM 2.0 commands that a witnessing counter needs (side: host; Part 3 of the specification, each by name).

Everything is authorised by empty passwords: the hierarchies' as Linux leaves them, and the counter's own. There is
nothing to guard: whoever steps the counter beside us can only stop the broker.
"""

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from client.tpm.device import TpmDevice
from common.errors import UnavailableError
from common.tpm.layouts import COUNTER_BYTES, SHA256, AttestationKey, EndorsementKey, counter_area, sized
from common.tpm.steps import NV_INCREMENT, NV_READ, READ_WHOLE, STIR_RANDOM

_NV_DEFINE, _CREATE_PRIMARY, _ACTIVATE = 0x12A, 0x131, 0x147
_GET_AUDIT_DIGEST, _POLICY_SECRET, _FLUSH, _NV_READ_PUBLIC, _START_SESSION = 0x14D, 0x151, 0x165, 0x169, 0x176
_OWNER, _NULL, _PASSWORD, _ENDORSEMENT = 0x40000001, 0x40000007, 0x40000009, 0x4000000B
_HMAC_SESSION, _POLICY_SESSION = 0, 1
_CONTINUE, _AUDIT = 0x01, 0x80
_NULL_ALGORITHM: Final = 0x0010

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_HEADER: Final = struct.Struct(">HII")
_BUSY: Final = (0x908, 0x90A, 0x920, 0x922)
"""TPM_RC_YIELDED, TESTING, NV_RATE, RETRY (Part 2): nothing was done; say it again."""

_BUSY_SECONDS: Final = 30.0
_HANDLES: Final = {_CREATE_PRIMARY: 1, _START_SESSION: 1}
_NO_SUCH_HANDLE: Final = 0x18B
_ALREADY_DEFINED: Final = 0x14C
"""TPM_RC_HANDLE for the first handle, TPM_RC_NV_DEFINED."""


class TpmRefusedError(UnavailableError):
    """The TPM answered a command with a response code that is not success."""

    def __init__(self, command: int, code: int) -> None:
        super().__init__("unavailable.tpm", expected=f"command {command:#x}", seen=f"response code {code:#x}")
        self.response_code = code


@dataclass(frozen=True)
class _Answer:
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


class Tpm:
    """One TPM with its two keys loaded and, once it is defined, one counter. Not for several threads at once."""

    def __init__(self, device: TpmDevice, index: int) -> None:
        self._device, self._index = device, index
        self._loaded: list[int] = []
        try:
            self._endorsement, area = self._create_primary(EndorsementKey.template(32))
            self.endorsement_key = EndorsementKey.parse(area)
            self._attestation, area = self._create_primary(AttestationKey.template(0))
            self.attestation_key = AttestationKey.parse(area)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Flush what was loaded, and let go of the device."""
        try:
            for handle in self._loaded:
                self._run(_FLUSH, parameters=_handle(handle))
        except UnavailableError:
            pass  # it is gone, and they with it
        finally:
            self._device.close()

    def define_counter(self) -> None:
        """Make the counter, and let it count once so that it can be read. Again after a crash in between: the same."""
        area = counter_area(self._index, written=False)
        try:
            self._run(_NV_DEFINE, _handle(_OWNER), sized(b"") + sized(area), _password())
        except TpmRefusedError as refused:
            if refused.response_code != _ALREADY_DEFINED:
                raise
        self._run(NV_INCREMENT, 2 * _handle(self._index), b"", _password())

    def counter(self) -> int | None:
        """The counter's value; None if there is none yet. Raises `UnavailableError` if something else is there."""
        try:
            area = self._run(_NV_READ_PUBLIC, _handle(self._index)).first()
        except TpmRefusedError as refused:
            if refused.response_code == _NO_SUCH_HANDLE:
                return None
            raise
        if area == counter_area(self._index, written=False):
            return None
        if area != counter_area(self._index, written=True):
            raise UnavailableError("unavailable.tpm", expected=f"a counter of ours at {self._index:#x}", seen="another")
        return self._read_counter()

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What a credential for this TPM and its attestation key holds (TPM2_ActivateCredential)."""
        with self._session(_POLICY_SESSION) as session:
            self._run(_POLICY_SECRET, _handle(_ENDORSEMENT) + _handle(session), 3 * sized(b"") + bytes(4), _password())
            answer = self._run(
                _ACTIVATE,
                _handle(self._attestation) + _handle(self._endorsement),
                sized(credential) + sized(secret),
                _password() + _authorised(session, _CONTINUE),
            )
        return answer.first()

    def step(self, purpose: bytes) -> tuple[int, Attested]:
        """Step the counter (common/tpm/steps). Its value before, and the proof."""
        with self._session(_HMAC_SESSION) as session:
            audit = _authorised(session, _CONTINUE | _AUDIT)
            self._run(STIR_RANDOM, b"", sized(purpose), audit)
            value = self._read_counter(audit)
            self._run(NV_INCREMENT, 2 * _handle(self._index), b"", _password() + audit)
            self._read_counter(audit)
            answer = self._run(
                _GET_AUDIT_DIGEST,
                _handle(_ENDORSEMENT) + _handle(self._attestation) + _handle(session),
                sized(b"") + _NULL_ALGORITHM.to_bytes(2, "big"),
                2 * _password(),
            )
        attested = answer.first()
        return value, Attested(attested, answer.parameters[2 + len(attested) :])

    def _read_counter(self, audit: bytes = b"") -> int:
        answer = self._run(NV_READ, 2 * _handle(self._index), READ_WHOLE, _password() + audit)
        return int.from_bytes(answer.first()[:COUNTER_BYTES], "big")

    def _create_primary(self, template: bytes) -> tuple[int, bytes]:
        parameters = sized(2 * sized(b"")) + sized(template) + sized(b"") + bytes(4)
        answer = self._run(_CREATE_PRIMARY, _handle(_ENDORSEMENT), parameters, _password())
        self._loaded.append(answer.handle)
        return answer.handle, answer.first()

    @contextmanager
    def _session(self, kind: int) -> Iterator[int]:
        """A session without salt or binding: its key is empty, and so are its HMACs (Part 1, "HMAC Computation")."""
        parameters = sized(os.urandom(16)) + sized(b"") + bytes([kind])
        parameters += _NULL_ALGORITHM.to_bytes(2, "big") + SHA256.to_bytes(2, "big")
        session = self._run(_START_SESSION, 2 * _handle(_NULL), parameters).handle
        try:
            yield session
        finally:
            self._run(_FLUSH, parameters=_handle(session))

    def _run(self, command: int, handles: bytes = b"", parameters: bytes = b"", authorisations: bytes = b"") -> _Answer:
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


def _parse_answer(body: bytes, handles: int, *, with_sessions: bool) -> _Answer:
    handle, rest = int.from_bytes(body[: 4 * handles], "big"), body[4 * handles :]
    if with_sessions:
        size = int.from_bytes(rest[:4], "big")
        rest = rest[4 : 4 + size]
    return _Answer(handle, rest)


def _handle(handle: int) -> bytes:
    return handle.to_bytes(4, "big")


def _password() -> bytes:
    """The empty password (TPM_RS_PW)."""
    return _authorised(_PASSWORD, 0)


def _authorised(session: int, attributes: int) -> bytes:
    """TPMS_AUTH_COMMAND with neither nonce nor HMAC."""
    return _handle(session) + sized(b"") + bytes([attributes]) + sized(b"")
