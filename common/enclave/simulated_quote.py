"""Byte-exact SGX DCAP quotes v3, as a quoting enclave makes them (side: host).

Source: Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4; report body: Intel SDM vol. 3D, table 37-21.
Integers are little-endian; a public key is x || y, a signature r || s.
"""

import hashlib
import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.enclave.simulated_pki import QE_ISV_PROD_ID, QE_ISV_SVN, QE_MR_SIGNER, sign_raw
from common.enclave.simulated_sgx_extension import CPU_SVN, PCE_SVN
from common.messages.evidence import REPORT_DATA_BYTES, SGX_FLAGS_INIT, SGX_FLAGS_MODE64BIT

_QE_VENDOR_INTEL: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ATTESTATION_KEY_P256: Final = 2
_CERTIFICATION_PCK_CHAIN: Final = 5
_QE_AUTH_DATA: Final = bytes(range(32))
"""What the quoting enclave hashes beside its key; Intel's reference puts these bytes there, too."""

_XFRM_LEGACY_AVX: Final = 0xE7
_FLAGS_PROVISION_KEY: Final = 0x10
_SIMULATED_MR_SIGNER: Final = hashlib.sha256(b"cloister simulation: nobody signed this enclave").digest()
_QE_MR_ENCLAVE: Final = hashlib.sha256(b"cloister simulation: quoting enclave").digest()


def encode_report(
    mr_enclave: bytes,
    report_data: bytes,
    *,
    mr_signer: bytes = _SIMULATED_MR_SIGNER,
    isv_prod_id: int = 0,
    isv_svn: int = 0,
    flags: int = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT,
    misc_select: int = 0,
) -> bytes:
    """A report body, 384 bytes. `mr_enclave`, `mr_signer`: 32 bytes; `report_data`: 64."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
    attributes = struct.pack("<QQ", flags, _XFRM_LEGACY_AVX)
    return struct.pack(
        "<16sI28x16s32s32x32s96xHH60x64s",
        CPU_SVN,
        misc_select,
        attributes,
        mr_enclave,
        mr_signer,
        isv_prod_id,
        isv_svn,
        report_data,
    )


def encode_qe_report(attestation_public: bytes, tail: bytes = bytes(32)) -> bytes:
    """The quoting enclave's own report: it binds SHA-256 of attestation key and auth data, then `tail`."""
    bound = hashlib.sha256(attestation_public + _QE_AUTH_DATA).digest()
    return encode_report(
        _QE_MR_ENCLAVE,
        bound + tail,
        mr_signer=QE_MR_SIGNER,
        isv_prod_id=QE_ISV_PROD_ID,
        isv_svn=QE_ISV_SVN,
        flags=SGX_FLAGS_INIT | _FLAGS_PROVISION_KEY,
    )


def sign_quote(
    report: bytes,
    attestation_key: EllipticCurvePrivateKey,
    pck_key: EllipticCurvePrivateKey,
    pck_chain: bytes,
    *,
    qe_report: bytes | None = None,
) -> bytes:
    """The quote over `report`: attestation key signs header and report, PCK signs the quoting enclave's report."""
    public = attestation_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    qe_report = encode_qe_report(public) if qe_report is None else qe_report
    header = struct.pack("<HHIHH16s20x", 3, _ATTESTATION_KEY_P256, 0, QE_ISV_SVN, PCE_SVN, _QE_VENDOR_INTEL)
    signature_data = b"".join(
        [
            sign_raw(attestation_key, header + report),
            public,
            qe_report,
            sign_raw(pck_key, qe_report),
            struct.pack("<H", len(_QE_AUTH_DATA)),
            _QE_AUTH_DATA,
            struct.pack("<HI", _CERTIFICATION_PCK_CHAIN, len(pck_chain)),
            pck_chain,
        ]
    )
    return header + report + struct.pack("<I", len(signature_data)) + signature_data
