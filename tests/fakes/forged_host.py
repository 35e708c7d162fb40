"""A measured host without a TPM at hand: its keys are ours, so that everything in its evidence can be chosen.

Bytes are those of a real one: the same areas, quotes, lists and certificates, signed and extended by the same rules.
"""

import struct
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from common.crypto.tpm_keys import Activations
from common.identifiers import Digest
from common.messages.host_evidence import HostEvidence
from common.messages.host_profile import BOOT_REGISTER_NAMES, HostProfile, ProfileName
from common.tpm.layouts import AttestationKey, EndorsementKey, sized
from common.tpm_ima.allowed_files import AllowedFiles, files_text
from common.tpm_ima.ima_list import ng_data
from common.tpm_ima.registers import BOOT_REGISTERS, IMA_REGISTER, QUOTED
from tests.fakes.ek_authority import EkAuthority

BOOTED = {number: sha256(b"boot %d" % number).digest() for number in BOOT_REGISTERS}
BINDING = sha256(b"report data").digest()
AGGREGATE = sha256(b"".join(BOOTED[number] for number in range(10))).digest()


def ng_line(path: bytes, digest: bytes, *, algorithm: bytes = b"sha256") -> bytes:
    data = ng_data(algorithm, digest, path)
    shown = sha1(data, usedforsecurity=False).hexdigest().encode()
    return b"10 %b ima-ng %b:%b %b\n" % (shown, algorithm, digest.hex().encode(), path)


def sig_line(path: bytes, digest: bytes, signature: bytes) -> bytes:
    data = ng_data(b"sha256", digest, path) + struct.pack("<I", len(signature)) + signature
    shown = sha1(data, usedforsecurity=False).hexdigest().encode()
    return b"10 %b ima-sig sha256:%b %b %b\n" % (shown, digest.hex().encode(), path, signature.hex().encode())


def violation(path: bytes) -> bytes:
    return b"10 %b ima-ng sha256:%b %b\n" % (b"0" * 40, b"0" * 64, path)


def extended(line: bytes, register: bytes) -> bytes:
    """Register 10 after this line, told without the code that is tested: the data stands in the line."""
    _, shown, template, named, path, *rest = line[:-1].split(b" ")
    if not shown.strip(b"0"):
        return sha256(register + b"\xff" * 32).digest()
    algorithm, digits = named.split(b":")
    field_ = algorithm + b":\0" + bytes.fromhex(digits.decode())
    data = struct.pack("<I", len(field_)) + field_ + struct.pack("<I", len(path) + 1) + path + b"\0"
    if template == b"ima-sig":
        signature = bytes.fromhex(rest[0].decode())
        data += struct.pack("<I", len(signature)) + signature
    return sha256(register + sha256(data).digest()).digest()


def files(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"/usr/lib/part-%d/module-%05d.so" % (at % 97, at), sha256(b"%d" % at).digest()) for at in range(count)]


def lines_of(count: int) -> list[bytes]:
    return [ng_line(b"boot_aggregate", AGGREGATE), *(ng_line(*one) for one in files(count))]


@dataclass
class ForgedHost:
    """One TPM: two keys, and an authority that certifies the first."""

    authority: EkAuthority = field(default_factory=EkAuthority)
    activations: Activations = field(default_factory=Activations)
    endorsement: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    attestation: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def endorsement_key(self) -> EndorsementKey:
        return EndorsementKey(*_point(self.endorsement))

    @property
    def attestation_key(self) -> AttestationKey:
        return AttestationKey(*_point(self.attestation))

    def evidence(self, lines: list[bytes], *, quoted: int | None = None, **other: Any) -> HostEvidence:
        """With a quote after the first `quoted` lines. `other`: fields of the evidence, or of the quote."""
        register = bytes(32)
        for line in lines[:quoted]:
            register = extended(line, register)
        values = {**BOOTED, IMA_REGISTER: register}
        values |= other.pop("values", {})
        registers = [values[number] for number in QUOTED]
        attested = quote_bytes(registers, **{name: other.pop(name) for name in tuple(other) if name in _IN_QUOTE})
        ek, ak = self.endorsement_key, self.attestation_key
        made: dict[str, Any] = {
            "endorsement_key": ek.area,
            "endorsement_certificates": self.authority.chain(self.endorsement.public_key()),
            "attestation_key": ak.area,
            "activation": self.activations.secret(ek.name, ak.name),
            "attested": attested,
            "signature": self.sign(attested),
            "registers": tuple(map(Digest.of, registers)),
            "boot_log": b"",
            "measurement_list": b"".join(lines),
        }
        return HostEvidence(**made | other)

    def sign(self, attested: bytes) -> bytes:
        r, s = decode_dss_signature(self.attestation.sign(attested, ec.ECDSA(SHA256())))
        return struct.pack(">HH", 0x0018, 0x000B) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


_IN_QUOTE = ("binding", "clock", "resets", "restarts", "firmware", "magic", "kind", "selected")


def quote_bytes(
    registers: list[bytes],
    *,
    binding: bytes = BINDING,
    clock: int = 5000,
    resets: int = 7,
    restarts: int = 0,
    firmware: int = 0x2020,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    selected: tuple[int, ...] = QUOTED,
) -> bytes:
    bits = sum(1 << number for number in selected).to_bytes(3, "little")
    return (
        struct.pack(">IH", magic, kind)
        + sized(b"\0\x0b" + bytes(32))
        + sized(binding)
        + struct.pack(">QIIBQ", clock, resets, restarts, 1, firmware)
        + struct.pack(">IHB", 1, 0x000B, 3)
        + bits
        + sized(sha256(b"".join(registers)).digest())
    )


def profile_for(claims: list[bytes], **other: Any) -> tuple[HostProfile, AllowedFiles]:
    """A profile that allows these files ("sha256:hex /path"), booted as `BOOTED`."""
    allowed = AllowedFiles.parse(files_text(claims))
    values = {name: (Digest.of(BOOTED[int(name)]),) for name in BOOT_REGISTER_NAMES}
    made: dict[str, Any] = {
        "name": ProfileName("gpu-host"), "number": 1, "files": allowed.digest, "boot_registers": values,
        "boot_log": "none", "created": 0,
    }  # fmt: skip
    return HostProfile(**made | other), allowed


def claims_of(some: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [b"sha256:%b %b" % (digest.hex().encode(), path) for path, digest in some]


def _point(key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
