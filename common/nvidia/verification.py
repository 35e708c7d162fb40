"""Is this report of a GPU or switch authentic? A report, roots, a nonce and a time in, claims out (side: verifier).

All checks are made at one chosen time `at`, so a stored verification can be replayed. In this order, each raises:

  (1) the report is well-formed, and nothing follows it (`report_format`);
  (2) its certificate chain is complete, everyone in it in its role and valid, and ends in the pinned key
      (`certificates`);
  (3) the chain is of a chip that is known, and the device's fields are those of such a chip (`opaque_fields`);
  (4) the first certificate's key signed request and answer: ECDSA P-384 over SHA-384;
  (5) the request carries our nonce;
  (6) where the report names its firmware, its certificate names the same (`firmware_id`).

What the caller must still do: hold measurements against reference values (`measured`), certificates against revocation
(`revocation`), claims against terms (`appraisal`), and all devices of a host against each other (`host`).
"""

import hmac
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from common.certificate_links import root_key_sha256
from common.errors import AppraisalError, AuthenticityError, FormatError
from common.identifiers import HexBytes48
from common.messages.gpu_evidence import DeviceReport, GpuRoots
from common.messages.gpu_terms import Architecture
from common.nvidia.certificates import DEVICE_CERTIFICATES, Chain, common_name, require_chain
from common.nvidia.claims import GpuClaims, SwitchClaims
from common.nvidia.firmware_id import firmware_id_of
from common.nvidia.opaque_fields import GpuFields, SwitchFields, read_gpu_fields, read_switch_fields
from common.nvidia.report_format import parse_report
from common.nvidia.signed_by import is_signed_by

_ARCHITECTURES: Final = {
    "GH1": Architecture.HOPPER,
    "GB1": Architecture.BLACKWELL,
    "GB2": Architecture.BLACKWELL,
    "LS_10": Architecture.LS10,
}
"""By how the name of a chip begins, in the boot ROM's certificate: "GH100 A01 GSP BROM"."""

_FIELDS: Final[dict[Architecture, Callable[[Mapping[int, bytes]], GpuFields | SwitchFields]]] = {
    Architecture.HOPPER: read_gpu_fields,
    Architecture.BLACKWELL: read_gpu_fields,
    Architecture.LS10: read_switch_fields,
}


def verify_device(evidence: DeviceReport, roots: GpuRoots, nonce: bytes, at: int) -> GpuClaims | SwitchClaims:
    """The claims of an authentic report: `GpuClaims` or `SwitchClaims`. `at` is Unix time in seconds.

    Raises `FormatError` (1, 2, 3, 6), `AuthenticityError` (2, 4), `AppraisalError` (2, 5, 6) or `FreshnessError` (2).
    """
    report = parse_report(evidence.report)  # (1)
    chain = require_chain(evidence.chain, DEVICE_CERTIFICATES, "gpu_report", roots.device_key_sha256, at)  # (2)
    chip, architecture = _chip(chain)  # (3)
    fields = _FIELDS[architecture](report.opaque)  # (3)
    if not is_signed_by(chain.leaf.public_key(), report.signature, report.signed):  # (4)
        raise AuthenticityError("authenticity.gpu_report", expected="signed by the key of its first certificate")
    if not hmac.compare_digest(report.nonce, nonce):  # (5)
        raise AppraisalError("appraisal.gpu_binding", expected=nonce.hex(), seen=report.nonce.hex())
    firmware = firmware_id_of(chain.leaf)  # (6)
    if fields.fwid not in (None, firmware.digest):  # (6)
        raise AppraisalError("appraisal.gpu_firmware", expected=firmware.digest.hex(), seen=(fields.fwid or b"").hex())
    make = partial(GpuClaims, fields=fields) if isinstance(fields, GpuFields) else partial(SwitchClaims, fields=fields)
    return make(
        architecture=architecture,
        chip=chip,
        device=root_key_sha256(chain.certificates[1]),
        firmware=HexBytes48(firmware.digest.hex()),
        unsafe=firmware.unsafe,
        measurements=report.measurements,
        chain=chain,
    )


def _chip(chain: Chain) -> tuple[str, Architecture]:
    """Name and architecture, by the boot ROM's certificate; the one that it issued is of the same chip."""
    own, name = (common_name(one).partition(" ")[0] for one in chain.certificates[:2])
    for begin, architecture in _ARCHITECTURES.items():
        if name == own and name.startswith(begin):
            return name, architecture
    raise FormatError("format.gpu_report", expected=f"a chip of {sorted(_ARCHITECTURES)}", seen=f"{own} of {name}")
