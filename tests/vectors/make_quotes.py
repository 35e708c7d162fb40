"""Vectors of simulated evidence, with fresh keys and serial numbers, so the file is made once (side: library)."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.dcap.roots import INTEL_ROOT_KEY_SHA256
from common.enclave.simulated_pki import SimulatedPki
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_quote import encode_report, sign_quote
from common.identifiers import MrEnclave
from common.messages.evidence import SgxDcapEvidence
from tests.vectors.make_crypto import KEY, SALT
from tests.vectors.vector_file import VectorFile, changed

_SOURCE: Final = "made once by a simulated platform (common/enclave), whose keys were thrown away"
_REPORT_OFFSET: Final = 48
_MR_ENCLAVE: Final = MrEnclave(KEY.hex())
_REPORT_DATA: Final = SALT * 2


def quote_file() -> VectorFile:
    """One good piece of evidence, and what is refused of it."""
    with tempfile.TemporaryDirectory() as directory:
        platform = SimulatedPlatform.open_or_create(Path(directory) / "platform")
        at = datetime.now(UTC)
        report = encode_report(_MR_ENCLAVE.raw(), _REPORT_DATA)
        quote = sign_quote(report, platform.attestation_key, platform.pki.pck.key, platform.pki.pck_chain)
        evidence = SgxDcapEvidence(quote=quote, collateral=platform.pki.collateral(at))
        return _vectors(evidence, platform.pki, platform.allowed_root.root_key_sha256, int(at.timestamp()))


def _vectors(evidence: SgxDcapEvidence, pki: SimulatedPki, root: str, at: int) -> VectorFile:
    file = VectorFile("quote/simulated.json", "simulated evidence", 11, _SOURCE)
    quote = evidence.quote
    common: dict[str, Any] = {"root_key_sha256": root, "verify_at": at}
    file.add("good", collateral=evidence.collateral.model_dump(mode="json"), quote=quote, **common,
             mr_enclave=_MR_ENCLAVE.raw(), report_data=_REPORT_DATA,
             trust_level="simulation", tcb_status="UpToDate")  # fmt: skip

    def refused(name: str, code: str, quote: bytes = quote, **changes: object) -> None:
        file.add(name, code, quote=quote, **common | changes)

    refused("Intel's root", "appraisal.root", root_key_sha256=INTEL_ROOT_KEY_SHA256)
    refused("changed mr_enclave", "authenticity.quote", changed(quote, _REPORT_OFFSET + 64))
    refused("changed report data", "authenticity.quote", changed(quote, _REPORT_OFFSET + 320))
    refused("debug bit", "appraisal.debug", quote[:96] + bytes([quote[96] | 2]) + quote[97:])
    refused("truncated", "format.quote", quote[:-1])
    refused("trailing byte", "format.quote", quote + b"\0")
    refused("unknown version", "format.quote", b"\x09" + quote[1:])
    refused("collateral expired", "freshness.collateral", verify_at=at + 31 * 86_400)
    refused("collateral from the future", "freshness.collateral", verify_at=at - 86_400)
    return file
