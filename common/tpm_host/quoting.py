"""A TPM that quotes this host (side: host; commands by their names in Part 3 of the specification)."""

import struct
from collections.abc import Sequence
from typing import Final

from common.errors import UnavailableError
from common.tpm.layouts import SHA256, AttestationKey, EndorsementKey, RsaEndorsementKey, sized
from common.tpm.steps import NV_READ
from common.tpm_host.commands import NULL_ALGORITHM, Attested, TpmCommands, TpmRefusedError, handle, password
from common.tpm_host.device import TpmDevice

_QUOTE, _NV_READ_PUBLIC, _PCR_READ, _PCR_EXTEND = 0x158, 0x169, 0x17E, 0x182
_ECC_CERTIFICATE, _RSA_CERTIFICATE = 0x01C0000A, 0x01C00002
"""NV indices of the certificates for templates L-2 and L-1 (EK Credential Profile)."""

_AT_ONCE: Final = 512
_DIGESTS_AT_ONCE: Final = 8
_MOST_CERTIFICATE: Final = 8 << 10


class QuotingTpm(TpmCommands):
    """One TPM with its attestation key, and the endorsement key that its certificate is for. `certificate` is DER.

    The attestation key lies in the endorsement hierarchy, so that its quotes tell resets and firmware as they are
    (Part 1, "Obfuscation" of clock information), and is the same after each start.
    """

    def __init__(self, device: TpmDevice, *, certificate: bytes | None = None, is_rsa: bool = False) -> None:
        super().__init__(device)
        try:
            self.certificate = certificate
            if certificate is None:
                self.certificate, is_rsa = self._find_certificate()
            template = RsaEndorsementKey.template() if is_rsa else EndorsementKey.template(32)
            self._endorsement, area = self.create_primary(template)
            self.endorsement_key = RsaEndorsementKey.parse(area) if is_rsa else EndorsementKey.parse(area)
            self._attestation, area = self.create_primary(AttestationKey.template(0))
            self.attestation_key = AttestationKey.parse(area)
        except BaseException:
            self.close()
            raise

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What a credential for this TPM and its attestation key holds."""
        return self.activate_with(self._endorsement, self._attestation, credential, secret)

    def quote(self, qualifying: bytes, registers: Sequence[int]) -> Attested:
        """TPM2_Quote over registers of the SHA-256 bank."""
        parameters = sized(qualifying) + NULL_ALGORITHM.to_bytes(2, "big") + _selection(registers)
        answer = self.run(_QUOTE, handle(self._attestation), parameters, password())
        attested = answer.first()
        return Attested(attested, answer.parameters[2 + len(attested) :])

    def registers(self, numbers: Sequence[int]) -> tuple[bytes, ...]:
        """Their values (TPM2_PCR_Read, which gives eight at once)."""
        values = list[bytes]()
        for start in range(0, len(numbers), _DIGESTS_AT_ONCE):
            values += self._read_registers(numbers[start : start + _DIGESTS_AT_ONCE])
        return tuple(values)

    def extend(self, register: int, digest: bytes) -> None:
        """TPM2_PCR_Extend, in the SHA-256 bank."""
        self.run(_PCR_EXTEND, handle(register), struct.pack(">IH", 1, SHA256) + digest, password())

    def _read_registers(self, numbers: Sequence[int]) -> list[bytes]:
        asked = _selection(numbers)
        answer = self.run(_PCR_READ, parameters=asked).parameters
        head = 4 + len(asked)
        values = [answer[head + 4 + 34 * at :][:34] for at in range(len(numbers))]
        if answer[4:head] != asked or any(len(one) != 34 or one[:2] != b"\0\x20" for one in values):
            raise UnavailableError("unavailable.tpm", expected="registers of the SHA-256 bank")
        return [one[2:] for one in values]

    def _find_certificate(self) -> tuple[bytes | None, bool]:
        """The endorsement key's certificate as its maker stored it, and whether it is RSA's."""
        for index, is_rsa in ((_ECC_CERTIFICATE, False), (_RSA_CERTIFICATE, True)):
            try:
                area = self.run(_NV_READ_PUBLIC, handle(index)).first()
            except TpmRefusedError:
                continue
            size = min(int.from_bytes(area[-2:], "big"), _MOST_CERTIFICATE)
            return _one_der(b"".join(self._read_nv(index, at, size) for at in range(0, size, _AT_ONCE))), is_rsa
        return None, False

    def _read_nv(self, index: int, at: int, size: int) -> bytes:
        parameters = struct.pack(">HH", min(_AT_ONCE, size - at), at)
        return self.run(NV_READ, 2 * handle(index), parameters, password()).first()


def _selection(numbers: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION: these of the SHA-256 bank."""
    bits = sum(1 << number for number in numbers)
    return struct.pack(">IHB", 1, SHA256, 3) + bits.to_bytes(3, "little")


def _one_der(raw: bytes) -> bytes:
    """The certificate without what some makers fill its place up with: its own length says where it ends (X.690)."""
    return raw[: 4 + int.from_bytes(raw[2:4], "big")] if raw[:2] == b"\x30\x82" else raw
