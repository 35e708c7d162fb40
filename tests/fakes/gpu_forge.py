"""GPUs, switches, reference values and OCSP answers on test roots, with chosen defects (side: library).

Documents are written in their canonical form by hand, so what is signed does not depend on the code under test.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CertificateBuilder,
    ExtendedKeyUsage,
    KeyUsage,
    Name,
    NameAttribute,
    ObjectIdentifier,
    UnrecognizedExtension,
    random_serial_number,
)
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponderEncoding, OCSPResponseBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.certificate_links import root_key_sha256
from common.messages.gpu_evidence import DeviceReport, GpuRoots
from common.nvidia.rim import SHA384 as SHA384_NAMESPACE
from common.nvidia.rim import SWID, TCG_RIM

AT: Final = 1_800_000_000
"""When all of it is verified."""

NONCE: Final = hashlib.sha256(b"a nonce").digest()
FWID: Final = hashlib.sha384(b"firmware").digest()
MEASURED: Final = {index: hashlib.sha384(bytes([index])).digest() for index in range(40)}
"""By index as reference values count them."""

DRIVER: Final = "580.159.03"
VBIOS: Final = "96.00.5E.00.01"
SWITCHES: Final = ("0800edd91ab33e20", "0800edd91ab33e21")
"""As switches spell their names."""

_DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
_YEAR: Final = timedelta(days=365)
_CHIPS: Final = {"GH100": "GSP", "GB100": "GSP", "LS_10": "FSP"}


@dataclass(frozen=True)
class Party:
    """A certificate and its key."""

    key: EllipticCurvePrivateKey
    certificate: Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def certify(
    name: str,
    issuer: Party | None,
    *,
    ca: bool = True,
    path_length: int | None = None,
    extensions: Iterable[Any] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
    key: EllipticCurvePrivateKey | None = None,
) -> Party:
    """A new party that `issuer` certifies, or which certifies itself."""
    key = key or generate_private_key(SECP384R1())
    now = datetime.fromtimestamp(AT, UTC)
    subject = Name([NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        CertificateBuilder(subject_name=subject, issuer_name=issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(random_serial_number())
        .not_valid_before(begin or now - _YEAR)
        .not_valid_after(end or now + _YEAR)
        .add_extension(usage(ca=ca), critical=True)
    )
    if ca:
        builder = builder.add_extension(BasicConstraints(ca=True, path_length=path_length), critical=True)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return Party(key, builder.sign(issuer.key if issuer else key, SHA384()))


def usage(*, ca: bool) -> KeyUsage:
    no = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **no)


def composite_id(fwid: bytes) -> UnrecognizedExtension:
    """As Hopper names its firmware."""
    inner = bytes.fromhex("303d06096086480165030402020430") + fwid
    return UnrecognizedExtension(
        ObjectIdentifier("2.23.133.5.4.1"), b"\x30" + bytes([len(inner) + 3]) + b"\2\1\1" + inner
    )


def tcb_info(fwid: bytes, flags: bytes = bytes.fromhex("80000001")) -> UnrecognizedExtension:
    """As Blackwell names its firmware, with these flags."""
    each = bytes.fromhex("303d06096086480165030402020430") + fwid
    inner = b"\xa6" + bytes([len(each)]) + each + b"\x87\x05\0" + flags
    return UnrecognizedExtension(ObjectIdentifier("2.23.133.5.4.1.1"), b"\x30" + bytes([len(inner)]) + inner)


@dataclass(frozen=True)
class Device:
    """A GPU or switch: its chain, leaf first, and what it measures and says."""

    chain: tuple[Party, ...]
    opaque: Mapping[int, bytes]
    measured: Mapping[int, bytes]

    def saying(self, **fields: bytes | None) -> "Device":
        """The same with other fields, by `t3=...` for type 3; None leaves one out."""
        changed = dict(self.opaque) | {int(name[1:]): value for name, value in fields.items()}
        return replace(self, opaque={kind: value for kind, value in changed.items() if value is not None})

    def measuring(self, **values: bytes | None) -> "Device":
        """The same with other measurements, by `m9=...` for index 9."""
        changed = dict(self.measured) | {int(name[1:]): value for name, value in values.items()}
        return replace(self, measured={index: value for index, value in changed.items() if value is not None})

    def report(self, nonce: bytes = NONCE) -> DeviceReport:
        """What it answers."""
        blocks = b"".join(block(index + 1, value) for index, value in self.measured.items())
        said = b"".join(_short(kind) + _short(len(value)) + value for kind, value in self.opaque.items())
        request = bytes.fromhex("11e001ff") + nonce + b"\0"
        response = bytes.fromhex("11600000") + bytes([len(self.measured)]) + len(blocks).to_bytes(3, "little")
        signed = request + response + blocks + bytes(32) + _short(len(said)) + said
        return DeviceReport(
            report=signed + sign(self.chain[0].key, signed), chain=tuple(party.der for party in self.chain)
        )


def block(index: int, value: bytes) -> bytes:
    """A measurement block."""
    return bytes([index, 1]) + _short(len(value) + 3) + b"\1" + _short(len(value)) + value


def sign(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r || s."""
    r, s = decode_dss_signature(key.sign(message, ECDSA(SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


class GpuForge:
    """Both hierarchies."""

    def __init__(self) -> None:
        self.device_root = certify("A Device Identity CA", None)
        self.families = {chip: certify(f"{chip} Identity", self.device_root) for chip in _CHIPS}
        self.provisioners = {chip: certify(f"{chip} ICA", family) for chip, family in self.families.items()}
        self.rim_root = certify("A CoRIM signing Root CA", None)
        self.rim_ca = certify("Reference Value CA", self.rim_root)
        self.rim_l3 = certify("Reference Value L3", self.rim_ca, path_length=0)
        self.rim_signer = certify("RIM L4 Signer", self.rim_l3, ca=False)

    @property
    def roots(self) -> GpuRoots:
        """Theirs."""
        return GpuRoots(
            device_key_sha256=root_key_sha256(self.device_root.certificate),
            rim_key_sha256=root_key_sha256(self.rim_root.certificate),
        )

    @property
    def rim_chain(self) -> tuple[Party, ...]:
        """Whose certificates stand in reference values."""
        return self.rim_signer, self.rim_l3, self.rim_ca, self.rim_root

    def gpu(self, chip: str = "GH100", *, fwid: bytes = FWID, mode: int = 1, **leaf: Any) -> Device:
        """A GPU that nothing is wrong with."""
        opaque = {
            3: DRIVER.encode() + b"\0",
            6: bytes.fromhex("005e009601000000"),
            11: b"\xaa",
            15: b"882\0",
            17: b"1010\0",
            18: b"0200\0",
            20: FWID,
            21: b"\xaa" if mode == 2 else b"\x55",
            22: b"".join(bytes.fromhex(name)[::-1] for name in SWITCHES),
            34: b"\1\0",
            36: bytes([mode, 0]),
        }
        naming = (tcb_info if chip == "GB100" else composite_id)(fwid)
        return Device(self.device_chain(chip, **({"extensions": (naming,)} | leaf)), opaque, MEASURED)

    def switch(self, pdi: str = SWITCHES[0], gpus: int = 2) -> Device:
        """A switch of that name that links so many GPUs."""
        linked = [f"{number:016x}" for number in range(1, gpus + 1)]
        names = b"".join(map(bytes.fromhex, (linked * 8)[:8]))
        opaque = {6: VBIOS.encode() + b"\0", 22: bytes.fromhex(pdi), 26: names + bytes(64), 25: b"\1\0"}
        return Device(self.device_chain("LS_10", extensions=(composite_id(FWID),)), opaque, MEASURED)

    def device_chain(self, chip: str, **leaf: Any) -> tuple[Party, ...]:
        """A new device's."""
        rom = certify(f"{chip} A01 {_CHIPS[chip]} BROM", self.provisioners[chip])
        own = certify(f"{chip} A01 {_CHIPS[chip]} FMC LF", rom, **({"ca": False} | leaf))
        return own, rom, self.provisioners[chip], self.families[chip], self.device_root

    def rim(self, version: str = DRIVER, golden: Mapping[int, Iterable[bytes]] | None = None, **changes: Any) -> bytes:
        """Signed reference values; the usual ones count even indices for a driver and odd ones for a VBIOS."""
        odd = len(version.split(".")) == 5
        usual = {index: [value] for index, value in MEASURED.items() if index % 2 == odd}
        return self.signed(rim_text(version, usual if golden is None else golden, **changes))

    def signed(self, head: str, chain: tuple[Party, ...] | None = None, info: str = "") -> bytes:
        """A document whose text ends before its signature, signed."""
        chain = chain or self.rim_chain
        digest = base64.b64encode(hashlib.sha384((head + "</SoftwareIdentity>").encode()).digest()).decode()
        info = info or signed_info(digest)
        scope = f'xmlns="{SWID}" xmlns:ds="{_DSIG}" xmlns:ns0="{SWID}" xmlns:ns2="{SHA384_NAMESPACE}"'
        value = sign(chain[0].key, f"<ds:SignedInfo {scope}>{info}</ds:SignedInfo>".encode())
        return document(head, info, value, chain)

    def answer(
        self,
        subject: Party,
        issuer: Party,
        *,
        status: OCSPCertStatus = OCSPCertStatus.GOOD,
        age_seconds: int = 60,
        lasts_seconds: int = 7 * 86_400,
        signer: Party | None = None,
    ) -> bytes:
        """An OCSP answer about `subject`, signed by its issuer or by `signer`, whose certificate is in it then."""
        issued = datetime.fromtimestamp(AT - age_seconds, UTC)
        revoked = status is OCSPCertStatus.REVOKED
        builder = (
            OCSPResponseBuilder()
            .add_response(
                cert=subject.certificate,
                issuer=issuer.certificate,
                algorithm=SHA1(),  # noqa: S303 - as RFC 6960 names certificates
                cert_status=status,
                this_update=issued,
                next_update=issued + timedelta(seconds=lasts_seconds),
                revocation_time=issued if revoked else None,
                revocation_reason=None,
            )
            .responder_id(OCSPResponderEncoding.HASH, (signer or issuer).certificate)
        )
        if signer is not None:
            builder = builder.certificates([signer.certificate])
        return builder.sign((signer or issuer).key, SHA384()).public_bytes(Encoding.DER)

    def responder(self, issuer: Party, **fields: Any) -> Party:
        """Somebody whom `issuer` certifies to answer for it."""
        named: dict[str, Any] = {"extensions": (ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),), "ca": False}
        return certify("An OCSP responder", issuer, **(named | fields))

    def answers(self, *chains: tuple[Party, ...]) -> tuple[bytes, ...]:
        """Good ones about every certificate of these chains that has an issuer above it."""
        pairs = {(one.der, issuer.der): (one, issuer) for chain in chains for one, issuer in pairwise(chain)}
        return tuple(self.answer(one, issuer) for one, issuer in pairs.values())


@cache
def forge() -> GpuForge:
    """One for all tests: its keys take a moment."""
    return GpuForge()


def rim_text(
    version: str,
    golden: Mapping[int, Iterable[bytes]],
    *,
    chip: str = "GH100",
    edition: str = "GPU",
    manufacturer: str = "5703",
    resources: str = "",
) -> str:
    """A SWID tag in canonical form, up to where its signature begins."""
    each = resources or "".join(resource(index, list(digests)) for index, digests in golden.items())
    return (
        f'<SoftwareIdentity xmlns="{SWID}" xmlns:ns0="{SWID}" xmlns:ns2="{SHA384_NAMESPACE}" name="{chip}">\n'
        '  <ns0:Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"></ns0:Entity>\n'
        f'  <ns0:Meta xmlns:ns1="{TCG_RIM}" colloquialVersion="{version}" edition="{edition}" product="{chip}" '
        f'ns1:FirmwareManufacturerId="{manufacturer}"></ns0:Meta>\n'
        f'  <ns0:Payload xmlns:SHA384="{SHA384_NAMESPACE}">\n{each}  </ns0:Payload>\n'
    )


def resource(index: int, digests: list[bytes], *, active: str = "True", alternatives: int | None = None) -> str:
    """One measurement, in canonical form: its own attributes by name, then the digests."""
    hashes = "".join(f' ns2:Hash{number}="{one.hex()}"' for number, one in enumerate(digests))
    count = len(digests) if alternatives is None else alternatives
    return (
        f'    <ns0:Resource active="{active}" alternatives="{count}" index="{index}" name="Measurement_{index}" '
        f'size="48" type="Measurement"{hashes}></ns0:Resource>\n'
    )


def signed_info(digest: str, canonical: str = "http://www.w3.org/2006/12/xml-c14n11") -> str:
    """What SignedInfo says, in canonical form."""
    more = "http://www.w3.org/2001/04/xmldsig-more#"
    return (
        f'<ds:CanonicalizationMethod Algorithm="{canonical}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{more}ecdsa-sha384"></ds:SignatureMethod><ds:Reference URI=""><ds:Transforms>'
        f'<ds:Transform Algorithm="{_DSIG}enveloped-signature"></ds:Transform>'
        f'<ds:Transform Algorithm="{canonical}"></ds:Transform></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{more}sha384"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue>'
        "</ds:Reference>"
    )


def document(head: str, info: str, value: bytes, chain: tuple[Party, ...]) -> bytes:
    """All of it."""
    certificates = "".join(
        f"<ds:X509Certificate>{base64.b64encode(one.der).decode()}</ds:X509Certificate>" for one in chain
    )
    return (
        f'{head}<ds:Signature xmlns:ds="{_DSIG}"><ds:SignedInfo>{info}</ds:SignedInfo>'
        f"<ds:SignatureValue>{base64.b64encode(value).decode()}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}"
        "</ds:X509Data></ds:KeyInfo></ds:Signature></SoftwareIdentity>"
    ).encode()


def _short(number: int) -> bytes:
    return number.to_bytes(2, "little")
