"""TDX quotes v4 and v5 and their collateral, as a test platform's quoting enclave would make them (side: library).

Source: Intel TDX DCAP Quoting Library API, appendix A.3; TD reports: Intel TDX module ABI spec, TDREPORT_STRUCT. What
differs from an SGX quote v3 (common/enclave/simulated_quote): the report's body, and certification data of type 6 that
wraps the quoting enclave's report around the certificates.
"""

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.enclave.simulated_pki import (
    CLOCK_MARGIN,
    SimulatedPki,
    encode_document,
    qe_identity_fields,
    sign_raw,
    tcb_info_fields,
)
from common.enclave.simulated_quote import encode_qe_report
from common.messages.evidence import Collateral
from common.messages.reference_values import TD_SEPT_VE_DISABLE

TEE_SVN: Final = bytes([4, 1, 2, *bytes(13)])
"""TDX components 4, 1 (module version), 2."""

TEE_TDX: Final = 0x81
_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_AUTH_DATA: Final = bytes(range(32))
_V5_KINDS: Final = {384: 1, 584: 2, 648: 3}
"""Size of a body -> its type in a quote v5."""


@dataclass(frozen=True)
class TdReport:
    """A TD report 1.0, and what 1.5 adds to it. Every register has 48 bytes, `report_data` 64."""

    report_data: bytes = bytes(64)
    attributes: int = TD_SEPT_VE_DISABLE
    xfam: int = 0x618E7
    mr_td: bytes = b"\x11" * 48
    rtmrs: tuple[bytes, bytes, bytes, bytes] = (b"\x21" * 48, b"\x22" * 48, b"\x23" * 48, bytes(48))
    mr_config_id: bytes = bytes(48)
    mr_owner: bytes = bytes(48)
    mr_owner_config: bytes = bytes(48)
    mr_seam: bytes = b"\x33" * 48
    mr_signer_seam: bytes = bytes(48)
    mr_service_td: bytes = bytes(48)
    tee_svn: bytes = TEE_SVN

    def encode(self, *, extended: bool = False) -> bytes:
        """584 bytes, or 648 of TD 1.5."""
        body = b"".join([
            self.tee_svn, self.mr_seam, self.mr_signer_seam, bytes(8), struct.pack("<QQ", self.attributes, self.xfam),
            self.mr_td, self.mr_config_id, self.mr_owner, self.mr_owner_config, *self.rtmrs, self.report_data,
        ])  # fmt: skip
        return body + self.tee_svn + self.mr_service_td if extended else body


def sign_td_quote(
    report: bytes,
    attestation_key: EllipticCurvePrivateKey,
    pck_key: EllipticCurvePrivateKey,
    pck_chain: bytes,
    *,
    qe_report: bytes | None = None,
    version: int = 4,
    tee: int = TEE_TDX,
) -> bytes:
    """The quote over `report`, as `simulated_quote.sign_quote` makes one of SGX."""
    public = attestation_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    qe_report = encode_qe_report(public) if qe_report is None else qe_report
    kind = struct.pack("<HI", _V5_KINDS[len(report)], len(report)) if version == 5 else b""
    signed = struct.pack("<HHIHH16s20x", version, 2, tee, 0, 0, _QE_VENDOR) + kind + report
    certified = b"".join([
        qe_report, sign_raw(pck_key, qe_report), struct.pack("<H", len(_AUTH_DATA)), _AUTH_DATA,
        struct.pack("<HI", 5, len(pck_chain)), pck_chain,
    ])  # fmt: skip
    data = b"".join([
        sign_raw(attestation_key, signed), public, struct.pack("<HI", 6, len(certified)), certified
    ])  # fmt: skip
    return signed + struct.pack("<I", len(data)) + data


def tdx_collateral(pki: SimulatedPki, at: datetime) -> Collateral:
    """What `SimulatedPki.collateral` gives for SGX."""
    issued, documents = at - CLOCK_MARGIN, dict[str, Any]()
    for name, fields in (("tcb_info", tdx_tcb_info_fields(issued)), ("qe_identity", td_qe_identity_fields(issued))):
        text = encode_document(fields)
        documents |= {name: text, f"{name}_signature": sign_raw(pki.tcb_signing.key, text.encode())}
    return pki.collateral(at).model_copy(update=documents)


def tdx_tcb_info_fields(issued: datetime) -> dict[str, object]:
    """TCB info of SGX, and what TDX adds: the module, its versions, the TDX components of each level."""
    sgx: dict[str, Any] = tcb_info_fields(issued)
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    level = sgx["tcbLevels"][0]
    tcb = level["tcb"] | {"tdxtcbcomponents": [{"svn": svn} for svn in TEE_SVN]}
    module_level = {"tcb": {"isvsvn": TEE_SVN[0]}, "tcbDate": level["tcbDate"], "tcbStatus": "UpToDate"}
    return sgx | {
        "id": "TDX",
        "tdxModule": module,
        "tdxModuleIdentities": [{"id": "TDX_01", **module, "tcbLevels": [module_level]}],
        "tcbLevels": [level | {"tcb": tcb}],
    }


def td_qe_identity_fields(issued: datetime) -> dict[str, object]:
    """QE identity of the quoting enclave for trust domains: the same one plays it."""
    return qe_identity_fields(issued) | {"id": "TD_QE"}
