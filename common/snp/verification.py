"""Is this report authentic? Evidence, allowed roots and a time in, claims out (side: verifier).

All checks are made at one chosen time `at`, so a stored verification can be replayed. In this order, each raises:

  (1) the report is well-formed, and signed by a kind of key that is known (`report_format`);
  (2) the host can't look inside by the guest's policy, unless the caller names it: no debug, no migration agent;
  (3) the chain is complete and everyone in it in his role: VCEK or VLEK, ASK, ARK (`certificates`);
  (4) the ARK's key is one that the caller allows for its product line; it decides the trust level (`roots`);
  (5) the ARK's revocation list is current, and names nobody of the chain (`revocation`);
  (6) the leaf's key signed the report;
  (7) the report's processor (version 3 and later) and the silicon that the leaf names are of the root's line;
  (8) the TCB version that the report was made for is the leaf's, byte for byte;
  (9) the chip is the VCEK's. A VLEK is of a provider, and of no chip.

A guest that is in debug has the trust level of a simulation on any machine, for whoever runs the host reads it.

What the caller must still do: hold `claims` against a reference value (`appraise`: measurement, host data, privilege
level, and the machine's firmware, which AMD does not judge), and `report_data` against what the guest had to bind
(`require_report_data`). *Not* checked: whether a list is older than one that was seen before.
"""

from collections.abc import Collection

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509 import Certificate

from common.errors import AuthenticityError
from common.identifiers import ChipId, HexBytes32, HexBytes48
from common.messages.evidence import TrustLevel
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct
from common.messages.tcb_terms import Exposure
from common.snp.appraisal import require_closed
from common.snp.certificates import require_chain
from common.snp.claims import FirmwareVersion, MachineClaims, SnpClaims
from common.snp.endorsement import Endorsement, read_endorsement
from common.snp.products import SILICON, is_of, read_tcb
from common.snp.report_format import SIGNED_BYTES, UnverifiedReport, parse_report
from common.snp.revocation import require_unrevoked
from common.snp.roots import SnpRoot, require_allowed_root, trust_level_of

_CHIP_ID_BYTES = 64
_TCBS = {"reported": 0x180, "committed": 0x1E0, "current": 0x038, "launch": 0x1F0}
"""Where they lie."""


def verify_report(
    evidence: SevSnpEvidence, roots: Collection[SnpRoot], at: int, allowing: tuple[Exposure, ...] = ()
) -> SnpClaims:
    """The claims of an authentic report. `at` is Unix time in seconds.

    What `allowing` does not name is refused here (2); what it names passes, and a reference value must name it again.
    Raises `FormatError` (1, 5), `AppraisalError` (2, 4), `AuthenticityError` (3, 5 to 9) or `FreshnessError` (3, 5).
    """
    report = parse_report(evidence.report)  # (1)
    require_closed(report.policy, allowing)  # (2)
    chain = require_chain(evidence, report.signer, at)  # (3)
    require_allowed_root(chain.root_pin, roots)  # (4)
    require_unrevoked(evidence.crl, chain, at)  # (5)
    _require_signature(report, chain.leaf)  # (6)
    product = chain.root_pin.product
    endorsed = read_endorsement(chain.leaf, product)
    if report.cpuid is not None and not is_of(product, report.cpuid):  # (7)
        raise _refusal(f"a processor of {product}", "family {:#x}, model {:#x}".format(*report.cpuid))
    if SILICON.get(endorsed.silicon) is not product:  # (7)
        raise _refusal(f"silicon of {product}", endorsed.silicon)
    reported = report.raw[_TCBS["reported"] :][:8]
    if reported != endorsed.tcb:  # (8)
        raise _refusal(f"the signing key of TCB {reported.hex()}", endorsed.tcb.hex())
    if not _is_chip_of(report, endorsed):  # (9)
        raise _refusal("the signing key of this chip", None if endorsed.hw_id is None else endorsed.hw_id.hex())
    return _claims(report, _machine(report, endorsed, product), trust_level_of(chain.root_pin))


def _require_signature(report: UnverifiedReport, leaf: Certificate) -> None:
    """ECDSA P-384 with SHA-384 over everything before the signature (AMD 56860, chapter 10)."""
    key = leaf.public_key()
    try:
        if not isinstance(key, EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(encode_dss_signature(*report.signature), report.raw[:SIGNED_BYTES], ECDSA(SHA384()))
    except InvalidSignature as cause:
        raise _refusal(f"a report that the {report.signer} signed", "another signature") from cause


def _is_chip_of(report: UnverifiedReport, endorsed: Endorsement) -> bool:
    """hwID has as many bytes as the line's chips have names; the field is as long for all."""
    if report.signer == "VLEK":
        return endorsed.hw_id is None and endorsed.provider is not None
    return endorsed.hw_id is not None and endorsed.hw_id.ljust(_CHIP_ID_BYTES, b"\0") == _chip_field(report)


def _chip_field(report: UnverifiedReport) -> bytes:
    return report.raw[0x1A0:0x1E0]


def _claims(report: UnverifiedReport, machine: MachineClaims, level: TrustLevel) -> SnpClaims:
    raw, is_debug = report.raw, Exposure.DEBUG in report.policy.openings
    return SnpClaims(
        trust_level=TrustLevel.SIMULATION if is_debug else level,
        machine=machine,
        report_data=raw[0x050:0x090],
        mr_launch=HexBytes48(raw[0x090:0x0C0].hex()),
        host_data=HexBytes32.of(raw[0x0C0:0x0E0]),
        id_key_digest=HexBytes48(raw[0x0E0:0x110].hex()),
        author_key_digest=HexBytes48(raw[0x110:0x140].hex()),
        family_id=raw[0x010:0x020],
        image_id=raw[0x020:0x030],
        guest_svn=report.integer(0x004, 4),
        policy=report.policy,
        vmpl=report.vmpl,
        report_id=HexBytes32.of(raw[0x140:0x160]),
        report_id_ma=HexBytes32.of(raw[0x160:0x180]),
    )


def _machine(report: UnverifiedReport, endorsed: Endorsement, product: SnpProduct) -> MachineClaims:
    return MachineClaims(
        product=product,
        signer=report.signer,
        provider=endorsed.provider,
        chip=_chip(report, product),
        tcbs={name: read_tcb(report.raw[at : at + 8], product) for name, at in _TCBS.items()},
        info=report.platform_info,
        current_version=_version(report, 0x1E8),
        committed_version=_version(report, 0x1EC),
        mitigations=report.mitigations,
    )


def _chip(report: UnverifiedReport, product: SnpProduct) -> ChipId | None:
    field = _chip_field(report)
    if not any(field):
        return None
    return ChipId((field[:8] if product is SnpProduct.TURIN else field).hex())


def _version(report: UnverifiedReport, at: int) -> FirmwareVersion:
    build, minor, major = report.raw[at : at + 3]
    return major, minor, build


def _refusal(expected: str, seen: object) -> AuthenticityError:
    return AuthenticityError("authenticity.snp_report", expected=expected, seen=seen)
