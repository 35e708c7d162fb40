"""TDX quotes v4 and v5, and SGX bodies in them, as a test platform's quoting enclave would make them (side: library).

Source: Intel TDX DCAP Quoting Library API, appendix A.3; TD reports: Intel TDX module ABI spec, TDREPORT_STRUCT. What
differs from an SGX quote v3 (common/enclave/simulated_quote): the report's body, and certification data of type 6 that
wraps the quoting enclave's report around the certificates.
"""

import struct
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.enclave.simulated_pki import qe_identity_fields, sign_raw, tcb_info_fields
from common.enclave.simulated_quote import encode_qe_report, encode_report
from common.messages.evidence import Collateral, SgxDcapEvidence, TdxDcapEvidence
from common.messages.reference_values import TD_SEPT_VE_DISABLE
from tests.fakes.defective_evidence import MR_ENCLAVE, REPORT_DATA, Forge

TEE_SVN: Final = bytes([4, 1, 2, *bytes(13)])
"""TDX components 4, 1 (module version), 2."""

_TEE_TDX: Final = 0x81
_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_AUTH_DATA: Final = bytes(range(32))
_ISSUED_AGO: Final = timedelta(hours=1)


@dataclass(frozen=True)
class TdReport:
    """A TD report 1.0, and what 1.5 adds to it. Every register has 48 bytes."""

    attributes: int = TD_SEPT_VE_DISABLE
    xfam: int = 0x618E7
    mr_td: bytes = b"\x11" * 48
    rtmrs: tuple[bytes, ...] = (b"\x21" * 48, b"\x22" * 48, b"\x23" * 48, bytes(48))
    mr_signer_seam: bytes = bytes(48)
    mr_service_td: bytes = bytes(48)
    tee_svn: bytes = TEE_SVN

    def encode(self, *, extended: bool = False) -> bytes:
        """584 bytes, or 648 of TD 1.5."""
        body = b"".join([
            self.tee_svn, b"\x33" * 48, self.mr_signer_seam, bytes(8), struct.pack("<QQ", self.attributes, self.xfam),
            self.mr_td, bytes(48 * 3), *self.rtmrs, REPORT_DATA,
        ])  # fmt: skip
        return body + self.tee_svn + self.mr_service_td if extended else body


def tdx_evidence(
    forge: Forge, report: TdReport | None = None, *, version: int = 4, extended: bool = False, **collateral: Any
) -> TdxDcapEvidence:
    """Good evidence of a trust domain, but for what is given. `extended`: a TD 1.5 report, in v5 alone."""
    body = (report or TdReport()).encode(extended=extended)
    kind = 3 if extended else 2
    quote = _sign(forge, _with_head(version, _TEE_TDX, kind, body))
    return TdxDcapEvidence(quote=quote, collateral=tdx_collateral(forge, **collateral))


def sgx_in_later_quote(forge: Forge, version: int) -> SgxDcapEvidence:
    """A quote v4 or v5 with an SGX body (type 1)."""
    body = encode_report(MR_ENCLAVE.raw(), REPORT_DATA)
    return forge.evidence().model_copy(update={"quote": _sign(forge, _with_head(version, 0, 1, body))})


def tdx_collateral(
    forge: Forge, tcb_info: dict[str, object] | None = None, qe_identity: dict[str, object] | None = None
) -> Collateral:
    """Collateral for TDX; the given fields differ."""
    issued = forge.at - _ISSUED_AGO
    documents = forge.signed("tcb_info", _tdx_tcb_info(tcb_info_fields(issued)) | (tcb_info or {}))
    documents |= forge.signed("qe_identity", qe_identity_fields(issued) | {"id": "TD_QE"} | (qe_identity or {}))
    return forge.platform.pki.collateral(forge.at).model_copy(update=documents)


def _tdx_tcb_info(sgx: dict[str, Any]) -> dict[str, object]:
    """TCB info of SGX, and what TDX adds: the module, its versions, the TDX components of each level."""
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


def _with_head(version: int, tee: int, kind: int, body: bytes) -> bytes:
    """All that the attestation key signs."""
    head = struct.pack("<HHIHH16s20x", version, 2, tee, 0, 0, _QE_VENDOR)
    return head + (struct.pack("<HI", kind, len(body)) if version == 5 else b"") + body


def _sign(forge: Forge, signed: bytes) -> bytes:
    platform = forge.platform
    public = platform.attestation_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    qe_report, chain = encode_qe_report(public), platform.pki.pck_chain
    certified = b"".join([
        qe_report, sign_raw(platform.pki.pck.key, qe_report), struct.pack("<H", len(_AUTH_DATA)), _AUTH_DATA,
        struct.pack("<HI", 5, len(chain)), chain,
    ])  # fmt: skip
    data = b"".join([
        sign_raw(platform.attestation_key, signed), public, struct.pack("<HI", 6, len(certified)), certified
    ])  # fmt: skip
    return signed + struct.pack("<I", len(data)) + data


def domains(forge: Forge) -> "dict[str, tuple[str, TdxDcapEvidence]]":
    """Evidence of trust domains with one chosen defect each -> the code that refuses it."""
    good = TdReport()
    return {
        "(1) TD 1.5 report cut short": ("format.quote", _shortened(tdx_evidence(forge, version=5, extended=True))),
        "(1) certification data of another type": ("format.quote", _of_another_type(tdx_evidence(forge))),
        "(2) debug": ("appraisal.debug", tdx_evidence(forge, replace(good, attributes=TD_SEPT_VE_DISABLE | 1))),
        "(2) SEPT_VE_DISABLE clear": ("appraisal.td_attributes", tdx_evidence(forge, replace(good, attributes=0))),
        "(2) service TD": (
            "appraisal.service_td",
            tdx_evidence(forge, replace(good, mr_service_td=b"\1" + bytes(47)), version=5, extended=True),
        ),
        "(5a) TCB info of SGX": ("format.collateral", tdx_evidence(forge, tcb_info={"id": "SGX"})),
        "(5a) QE identity of SGX": ("format.collateral", tdx_evidence(forge, qe_identity={"id": "QE"})),
        "(5a) QE identity v1": ("format.collateral", tdx_evidence(forge, qe_identity={"version": 1})),
        "(6) module of another signer": (
            "authenticity.quote",
            tdx_evidence(forge, replace(good, mr_signer_seam=b"\1" * 48)),
        ),
        "(6) module of no known version": (
            "authenticity.quote",
            tdx_evidence(forge, replace(good, tee_svn=bytes([4, 9, 2, *bytes(13)]))),
        ),
        "(7) TCB info of another PCE": ("authenticity.quote", tdx_evidence(forge, tcb_info={"pceId": "0001"})),
    }


def _of_another_type(evidence: TdxDcapEvidence) -> TdxDcapEvidence:
    """Nobody signs the type, and the engine does not read it."""
    quote = bytearray(evidence.quote)
    quote[48 + 584 + 4 + 64 + 64] ^= 1
    return evidence.model_copy(update={"quote": bytes(quote)})


def _shortened(evidence: TdxDcapEvidence) -> TdxDcapEvidence:
    """The body says 584 bytes of type 3."""
    quote = evidence.quote[:50] + struct.pack("<I", 584) + evidence.quote[54:]
    return evidence.model_copy(update={"quote": quote})
