"""The certificates, CRLs and signed documents behind simulated quotes (side: host).

Byte for byte of the shape that Intel's are, so that the same verifier checks both; under a root made for one
installation, so that nobody else accepts them. What gives it away: the root's key, and FMSPC C0FFEE000000.

  root CA (path length 1) -> PCK Platform CA (0) -> PCK leaf with the SGX extension
  root CA                 -> TCB signing leaf, which signs TCB info v3 and QE identity v2

Sources: Intel "SGX PCK Certificate and CRL Profile Specification" 1.5 (names, key usages, SGX extension 1.3.5);
Intel PCS API v4 (the two documents).
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.dcap.certificates import PCK_LEAF, ROOT_CA, TCB_SIGNING
from common.enclave.simulated_sgx_extension import CPU_SVN, FMSPC, PCE_ID, PCE_SVN, SGX_EXTENSION, encode_sgx_extension
from common.messages.evidence import Collateral

COLLATERAL_LIFE: Final = timedelta(days=30)
"""Between issue date and next update, as Intel's."""

CERTIFICATE_LIFE: Final = timedelta(days=3650)
CLOCK_MARGIN: Final = timedelta(hours=1)
"""Issued this long before now: whoever verifies may have a clock that is a little behind."""

PLATFORM_CA: Final = "Intel SGX PCK Platform CA"
QE_MR_SIGNER: Final = bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")
"""MRSIGNER of Intel's quoting enclave, as every authentic QE identity states it."""

QE_ISV_PROD_ID: Final = 1
QE_ISV_SVN: Final = 8
_TCB_EVALUATION: Final = 17
_TCB_DATE: Final = "2024-03-13T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Certified:
    """A key and the certificate for it."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class SimulatedPki:
    """All keys of one simulated platform and of those who vouch for it."""

    root: Certified
    pck_ca: Certified
    tcb_signing: Certified
    pck: Certified

    @classmethod
    def generate(cls, at: datetime) -> Self:
        """Fresh keys; certificates valid from a little before `at`."""
        root = issue_certificate(ROOT_CA, at, path_length=1)
        pck_ca = issue_certificate(PLATFORM_CA, at, root, path_length=0)
        extension = encode_sgx_extension(ppid=secrets.token_bytes(16), instance_id=secrets.token_bytes(16))
        return cls(
            root,
            pck_ca,
            issue_certificate(TCB_SIGNING, at, root),
            issue_certificate(PCK_LEAF, at, pck_ca, sgx_extension=extension),
        )

    @property
    def pck_chain(self) -> bytes:
        """PEM of PCK leaf, PCK CA, root, as it stands in a quote."""
        return self.pck.pem + self.pck_ca.pem + self.root.pem

    def collateral(self, at: datetime) -> Collateral:
        """Everything that a verifier needs beside the quote, issued now."""
        issued = at - CLOCK_MARGIN
        tcb_info, qe_identity = encode_document(tcb_info_fields(issued)), encode_document(qe_identity_fields(issued))
        signer_chain = (self.tcb_signing.pem + self.root.pem).decode()
        return Collateral(
            pck_crl_issuer_chain=(self.pck_ca.pem + self.root.pem).decode(),
            root_ca_crl=issue_crl(self.root, issued),
            pck_crl=issue_crl(self.pck_ca, issued),
            tcb_info_issuer_chain=signer_chain,
            tcb_info=tcb_info,
            tcb_info_signature=sign_raw(self.tcb_signing.key, tcb_info.encode()),
            qe_identity_issuer_chain=signer_chain,
            qe_identity=qe_identity,
            qe_identity_signature=sign_raw(self.tcb_signing.key, qe_identity.encode()),
        )


def sign_raw(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA P-256 with SHA-256 as r || s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(message, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def issue_certificate(
    name: str,
    at: datetime,
    issuer: Certified | None = None,
    *,
    path_length: int | None = None,
    sgx_extension: bytes | None = None,
) -> Certified:
    """A key and its certificate; self-signed without `issuer`, a CA's with `path_length`."""
    key = generate_private_key(SECP256R1())
    is_ca = path_length is not None
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer.certificate.subject if issuer else _name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - CLOCK_MARGIN)
        .not_valid_after(at + CERTIFICATE_LIFE)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_CRL_POINTS, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_key_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
    )
    if sgx_extension is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(SGX_EXTENSION, sgx_extension), critical=False)
    return Certified(key, builder.sign(signer, SHA256()))


def issue_crl(issuer: Certified, issued: datetime, revoked: tuple[int, ...] = ()) -> bytes:
    """A DER CRL that names the revoked serial numbers."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(issued)
        .next_update(issued + COLLATERAL_LIFE)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, SHA256()).public_bytes(Encoding.DER)


def encode_document(fields: dict[str, object]) -> str:
    """Minified JSON: the exact text that is signed."""
    return json.dumps(fields, separators=(",", ":"))


def tcb_info_fields(issued: datetime) -> dict[str, object]:
    """TCB info v3 with one level: the one that this platform is at."""
    return {
        "id": "SGX",
        "version": 3,
        **_dates(issued),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCE_ID.hex().upper(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": _TCB_EVALUATION,
        "tcbLevels": [
            {
                "tcb": {"sgxtcbcomponents": [{"svn": svn} for svn in CPU_SVN], "pcesvn": PCE_SVN},
                "tcbDate": _TCB_DATE,
                "tcbStatus": "UpToDate",
            }
        ],
    }


def qe_identity_fields(issued: datetime) -> dict[str, object]:
    """QE identity v2 of the quoting enclave that `simulated_quote` plays."""
    return {
        "id": "QE",
        "version": 2,
        **_dates(issued),
        "tcbEvaluationDataNumber": _TCB_EVALUATION,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_MR_SIGNER.hex().upper(),
        "isvprodid": QE_ISV_PROD_ID,
        "tcbLevels": [{"tcb": {"isvsvn": QE_ISV_SVN}, "tcbDate": _TCB_DATE, "tcbStatus": "UpToDate"}],
    }


def _dates(issued: datetime) -> dict[str, object]:
    return {
        name: when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, when in (("issueDate", issued), ("nextUpdate", issued + COLLATERAL_LIFE))
    }


_CRL_POINTS: Final = x509.CRLDistributionPoints(
    [x509.DistributionPoint([x509.UniformResourceIdentifier("https://simulation.invalid/crl.der")], None, None, None)]
)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            x509.NameAttribute(x509.NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(x509.NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
