"""Evidence of SEV-SNP guests on a test root whose every piece can be remade (side: library).

Two RSA keys serve all forges, for making one of 4,096 bits takes seconds: the authorities differ in names alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from common.certificate_links import root_key_sha256
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct
from common.snp import SnpRoot
from tests.fakes.snp_reports import VLEK_SIGNED, SnpReport, sign_report

DAY: Final = timedelta(days=1)
PADDING: Final = PSS(MGF1(SHA384()), 48)
CPUIDS: Final = {SnpProduct.MILAN: (0x19, 0x01, 1), SnpProduct.GENOA: (0x19, 0x11, 1), SnpProduct.TURIN: (0x1A, 2, 1)}
TCBS: Final = {
    SnpProduct.MILAN: bytes((4, 0, 0, 0, 0, 0, 24, 219)),
    SnpProduct.GENOA: bytes((10, 0, 0, 0, 0, 0, 23, 84)),
    SnpProduct.TURIN: bytes((1, 1, 1, 4, 0, 0, 0, 81)),
}
_EXTENSION_OF_BYTE: Final = {SnpProduct.MILAN: (1, 2, 4, 5, 6, 7, 3, 8), SnpProduct.GENOA: (1, 2, 4, 5, 6, 7, 3, 8),
                             SnpProduct.TURIN: (9, 1, 2, 3, 5, 6, 7, 8)}  # fmt: skip
_AMD: Final = "1.3.6.1.4.1.3704.1"


class Certified(NamedTuple):
    """A key and the certificate for it."""

    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)


@cache
def rsa_key(whose: str, bits: int = 4096) -> RSAPrivateKey:
    """The key of this name, made once."""
    assert whose
    return generate_rsa_key(65537, bits)


def issue(
    name: str,
    key: Any,
    issuer: Certified | None,
    at: datetime,
    *,
    path_length: int | None = None,
    is_ca: bool = True,
    key_cert_sign: bool = True,
    extensions: Iterable[x509.UnrecognizedExtension] = (),
    serial: int = 0x10001,
    life: timedelta = 3650 * DAY,
    pss: bool = True,
) -> Certified:
    """A certificate as AMD makes them; self-signed without `issuer`. `extensions` make a leaf's."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A test"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    by = subject if issuer is None else issuer.certificate.subject
    builder = x509.CertificateBuilder(by, subject, key.public_key(), serial, at - DAY, at - DAY + life)
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
    if key_cert_sign:
        no = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False)  # fmt: skip
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=issuer is None, **no), critical=True)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    signing = key if issuer is None else issuer.key
    return Certified(key, builder.sign(signing, SHA384(), rsa_padding=PADDING if pss else None))


def issue_list(
    root: Certified,
    at: datetime,
    *revoked: int,
    padding: PSS | None = PADDING,
    delta: bool = False,
    life: timedelta = 40 * DAY,
) -> bytes:
    """A revocation list in DER."""
    builder = x509.CertificateRevocationListBuilder(root.certificate.subject, at - DAY, at - DAY + life)
    for serial in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, at - DAY).build())
    builder = builder.add_extension(x509.CRLNumber(7), critical=False)
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(6), critical=True)
    return builder.sign(root.key, SHA384(), rsa_padding=padding).public_bytes(Encoding.DER)


def endorse(product: SnpProduct, tcb: bytes, *, silicon: str | None = None, hw_id: bytes | None = None,
            provider: str | None = None, **changed: bytes | None) -> list[x509.UnrecognizedExtension]:  # fmt: skip
    """A leaf's extensions. `changed` gives other values, or None, to extensions by their last number (`n3`)."""
    values: dict[str, bytes | None] = {f"{_AMD}.1": b"\2\1\0", f"{_AMD}.2": _ia5(silicon or f"{product}-B0")}
    values |= {
        f"{_AMD}.3.{number}": _der_byte(svn) for number, svn in zip(_EXTENSION_OF_BYTE[product], tcb, strict=True)
    }
    values |= {} if hw_id is None else {f"{_AMD}.4": hw_id}
    values |= {} if provider is None else {f"{_AMD}.5": _ia5(provider)}
    values |= {f"{_AMD}.3.{name[1:]}": value for name, value in changed.items()}
    given = [(name, value) for name, value in values.items() if value is not None]
    return [x509.UnrecognizedExtension(ObjectIdentifier(name), value) for name, value in given]


def _der_byte(value: int) -> bytes:
    return bytes((2, 1, value)) if value < 0x80 else bytes((2, 2, 0, value))


def _ia5(text: str) -> bytes:
    return bytes((0x16, len(text))) + text.encode()


@dataclass(frozen=True)
class SnpForge:
    """A machine of one product line, its authorities, and what it reports."""

    product: SnpProduct = SnpProduct.MILAN
    version: int = 3
    signer: Literal["VCEK", "VLEK"] = "VCEK"
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP384R1()))

    def of(self, product: SnpProduct, version: int | None = None) -> "SnpForge":
        """The same key in a machine of another line."""
        return replace(self, product=product, version=version or (5 if product is SnpProduct.TURIN else 3))

    @property
    def time(self) -> int:
        """When its evidence is to be verified."""
        return int(self.at.timestamp())

    @property
    def chip(self) -> bytes:
        """As many bytes as the line's chips have names."""
        return b"\x5a" * (8 if self.product is SnpProduct.TURIN else 64)

    @property
    def tcb(self) -> bytes:
        """TCB_VERSION."""
        return TCBS[self.product]

    @property
    def root(self) -> Certified:
        """The ARK."""
        return issue(f"ARK-{self.product}", rsa_key("ark"), None, self.at, serial=0x10000)

    @property
    def roots(self) -> tuple[SnpRoot, ...]:
        """Its root, allowed for its line alone."""
        return (SnpRoot(self.product, root_key_sha256(self.root.certificate)),)

    def intermediate(self, root: Certified | None = None) -> Certified:
        """The ASK, or the ASVK."""
        name = f"SEV-{self.product}" if self.signer == "VCEK" else f"SEV-VLEK-{self.product}"
        return issue(name, rsa_key("ask"), root or self.root, self.at, path_length=0)

    def leaf(self, issuer: Certified | None = None, **endorsed: Any) -> Certified:
        """The VCEK, or the VLEK."""
        usual = {"hw_id": self.chip} if self.signer == "VCEK" else {"provider": "a cloud"}
        extensions = endorse(self.product, endorsed.pop("tcb", self.tcb), **(usual | endorsed))
        issuer = issuer or self.intermediate()
        return issue(f"SEV-{self.signer}", self.key, issuer, self.at, is_ca=False, key_cert_sign=False,
                     extensions=extensions, serial=5)  # fmt: skip

    def report(self, **fields: Any) -> bytes:
        """The signed part of a report, the usual one but for these fields."""
        tcbs = dict.fromkeys(("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"), self.tcb)
        usual: dict[str, Any] = {
            "version": self.version, "cpuid": CPUIDS[self.product] if self.version > 2 else (0, 0, 0),
            "chip_id": self.chip, "key_flags": VLEK_SIGNED if self.signer == "VLEK" else 0,
            "mitigations": (63, 63) if self.version > 4 else (0, 0), **tcbs,
        }  # fmt: skip
        return SnpReport(**(usual | fields)).encode()

    def evidence(
        self,
        report: bytes | None = None,
        *,
        leaf: Certified | None = None,
        intermediate: Certified | None = None,
        root: Certified | None = None,
        crl: bytes | None = None,
    ) -> SevSnpEvidence:
        """Good evidence, but for what is given."""
        root = root or self.root
        intermediate = intermediate or self.intermediate(root)
        leaf = leaf or self.leaf(intermediate)
        return SevSnpEvidence(
            report=sign_report(self.report() if report is None else report, leaf.key), signer=leaf.der,
            intermediate=intermediate.der, root=root.der, crl=crl or issue_list(root, self.at),
        )  # fmt: skip

    def reporting(self, **fields: Any) -> SevSnpEvidence:
        """Good evidence of a report with these fields."""
        return self.evidence(self.report(**fields))

    def with_report(self, raw: bytes) -> SevSnpEvidence:
        """Good evidence around other bytes in the place of the report."""
        return self.evidence().model_copy(update={"report": raw})
