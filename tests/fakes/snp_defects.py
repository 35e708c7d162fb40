"""SEV-SNP evidence with one chosen defect each, made on a test root (side: library).

Everything else about each piece is right and rightly signed, so only the rule that is named can refuse it. `DEFECTS`
names the rule's step in `common.snp.verification` (the rules of its modules by letters) and the code; each is refused
by that rule alone. `FURTHER` are refused as well, by more than one rule.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key

from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct
from tests.fakes.snp_forge import DAY, TCBS, Certified, SnpForge, endorse, issue, issue_list, rsa_key
from tests.fakes.snp_reports import DEBUG, MIGRATE_MA, VLEK_SIGNED, sign_report

SnpDefect = tuple[str, Callable[[SnpForge], SevSnpEvidence]]
"""A code, and evidence that is refused with it."""

_USUAL_POLICY: Final = 0b11 << 16


def _reporting(**fields: Any) -> Callable[[SnpForge], SevSnpEvidence]:
    return lambda forge: forge.reporting(**fields)


def _set(position: int) -> Callable[[SnpForge], SevSnpEvidence]:
    """A byte that nobody signs is not zero."""

    def make(forge: SnpForge) -> SevSnpEvidence:
        raw = forge.evidence().report
        return forge.with_report(raw[:position] + b"\1" + raw[position + 1 :])

    return make


# -- (3), (4): who signed --------------------------------------------------------------------------------------------


def _with_intermediate(forge: SnpForge, **changed: Any) -> SevSnpEvidence:
    """An ASK that differs in this from the usual one."""
    usual: dict[str, Any] = {
        "name": f"SEV-{forge.product}",
        "key": rsa_key("ask"),
        "issuer": forge.root,
        "path_length": 0,
    }
    return forge.evidence(intermediate=issue(at=forge.at, **(usual | changed)))


def _with_leaf(forge: SnpForge, **changed: Any) -> SevSnpEvidence:
    """A VCEK that differs in this from the usual one."""
    usual: dict[str, Any] = {
        "name": f"SEV-{forge.signer}", "key": forge.key, "issuer": forge.intermediate(), "is_ca": False,
        "key_cert_sign": False, "extensions": endorse(forge.product, forge.tcb, hw_id=forge.chip), "serial": 5,
    }  # fmt: skip
    return forge.evidence(leaf=issue(at=forge.at, **(usual | changed)))


def _leaf_of_another_authority(forge: SnpForge) -> SevSnpEvidence:
    """The right name, another key."""
    return forge.evidence(leaf=forge.leaf(issue(f"SEV-{forge.product}", rsa_key("ark"), None, forge.at, path_length=0)))


def _intermediate_of_another_root(forge: SnpForge) -> SevSnpEvidence:
    other = issue(f"ARK-{forge.product}", rsa_key("ask"), None, forge.at)
    return forge.evidence(intermediate=forge.intermediate(other))


def _leaf_signed_otherwise(forge: SnpForge) -> SevSnpEvidence:
    """By RSASSA-PKCS1-v1_5."""
    return _with_leaf(forge, pss=False)


def _of_another_root(forge: SnpForge) -> SevSnpEvidence:
    """Everything is right, under a root that nobody allowed."""
    return forge.evidence(root=issue(f"ARK-{forge.product}", rsa_key("ask"), None, forge.at))


def _of_another_line(forge: SnpForge) -> SevSnpEvidence:
    """Everything is right, under a root that is allowed for other processors alone."""
    lines = list(SnpProduct)
    return forge.of(lines[lines.index(forge.product) - 1]).evidence()


def _root_of_no_line(forge: SnpForge) -> SevSnpEvidence:
    return forge.evidence(root=issue("ARK-Rome", rsa_key("ark"), None, forge.at))


# -- (5): the list ---------------------------------------------------------------------------------------------------


def _list(*revoked: int, days: int = 0, **changed: Any) -> Callable[[SnpForge], SevSnpEvidence]:
    return lambda forge: forge.evidence(crl=issue_list(forge.root, forge.at + days * DAY, *revoked, **changed))


def _list_of_another_key(forge: SnpForge) -> SevSnpEvidence:
    return forge.evidence(crl=issue_list(Certified(rsa_key("ask"), forge.root.certificate), forge.at))


def _list_of_another_name(forge: SnpForge) -> SevSnpEvidence:
    return forge.evidence(crl=issue_list(issue("ARK-Rome", rsa_key("ark"), None, forge.at), forge.at))


# -- (6) to (9): the report and its key ------------------------------------------------------------------------------


def _signed_by_another(forge: SnpForge) -> SevSnpEvidence:
    return forge.with_report(sign_report(forge.report(), generate_private_key(SECP384R1())))


def _changed_after_signing(forge: SnpForge) -> SevSnpEvidence:
    good = forge.evidence().report
    return forge.with_report(sign_report(forge.report(guest_svn=3), forge.key)[:0x2A0] + good[0x2A0:])


def _processor_of_another_line(forge: SnpForge) -> SevSnpEvidence:
    return forge.reporting(cpuid=(0x19, 0x11, 0) if forge.product is not SnpProduct.GENOA else (0x19, 0x01, 0))


def _processor_of_another_family(forge: SnpForge) -> SevSnpEvidence:
    return forge.reporting(cpuid=(0x17, 0x01, 0))


def _endorsed(**said: Any) -> Callable[[SnpForge], SevSnpEvidence]:
    return lambda forge: forge.evidence(leaf=forge.leaf(**said))


def _older_than_reported(forge: SnpForge) -> SevSnpEvidence:
    """Each component is a signed value of its own, so less by one is enough."""
    older = forge.tcb[:-1] + bytes((forge.tcb[-1] - 1,))
    return forge.evidence(leaf=forge.leaf(tcb=older))


def _reported_older(forge: SnpForge) -> SevSnpEvidence:
    return forge.reporting(reported_tcb=bytes((forge.tcb[0] - 1,)) + forge.tcb[1:])


def _masked_chip(forge: SnpForge) -> SevSnpEvidence:
    return forge.reporting(chip_id=bytes(64))


def _loaded(**said: Any) -> Callable[[SnpForge], SevSnpEvidence]:
    """Of a VLEK."""
    return lambda forge: _endorsed(**said)(replace(forge, signer="VLEK"))


DEFECTS: Final[dict[str, SnpDefect]] = {
    "(1a) a byte is missing": ("format.snp_report", lambda forge: forge.with_report(forge.evidence().report[:-1])),
    "(1a) version 6": ("format.snp_report", _reporting(version=6)),
    "(1b) another algorithm": ("format.snp_report", _reporting(signature_algorithm=2)),
    "(1c) reserved word": ("format.snp_report", _reporting(reserved=1)),
    "(1c) behind the signature": ("format.snp_report", _set(0x330)),
    "(1c) last byte": ("format.snp_report", _set(0x49F)),
    "(1c) processor in version 2": ("format.snp_report", _reporting(version=2, mitigations=(0, 0))),
    "(1c) mitigations in version 4": ("format.snp_report", _reporting(version=4, mitigations=(1, 1))),
    "(1d) policy without bit 17": ("format.snp_report", _reporting(policy=1 << 16)),
    "(1d) policy with bit 26": ("format.snp_report", _reporting(policy=_USUAL_POLICY | 1 << 26)),
    "(1d) reserved key flag": ("format.snp_report", _reporting(key_flags=1 << 5)),
    "(1e) privilege level 4": ("format.snp_report", _reporting(vmpl=4)),
    "(1e) author key without flag": ("format.snp_report", _reporting(author_key_digest=b"\1" * 48)),
    "(2) debug": ("appraisal.debug", _reporting(policy=_USUAL_POLICY | DEBUG)),
    "(2) migration": ("appraisal.guest", _reporting(policy=_USUAL_POLICY | MIGRATE_MA)),
    "(3a) leaf of another authority": ("authenticity.snp_report", _leaf_of_another_authority),
    "(3a) authority of another root": ("authenticity.snp_report", _intermediate_of_another_root),
    "(3a) leaf signed by PKCS 1 v1.5": ("authenticity.snp_report", _leaf_signed_otherwise),
    "(3b) authority of another line": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, name="SEV-Rome")),
    "(3b) VLEK for a VCEK": ("authenticity.snp_report", lambda forge: _with_leaf(forge, name="SEV-VLEK")),
    "(3b) authority of VLEKs": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, name=f"SEV-VLEK-{forge.product}")),
    "(3c) authority is no CA": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, is_ca=False)),
    "(3c) authority may make authorities": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, path_length=None)),
    "(3c) authority may not sign": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, key_cert_sign=False)),
    "(3c) leaf is a CA": ("authenticity.snp_report", lambda forge: _with_leaf(forge, is_ca=True)),
    "(3c) leaf may sign certificates": ("authenticity.snp_report", lambda forge: _with_leaf(forge, key_cert_sign=True)),
    "(3d) leaf on P-256": (
        "authenticity.snp_report", lambda forge: _with_leaf(forge, key=generate_private_key(SECP256R1()))),
    "(3d) authority of 3,072 bits": (
        "authenticity.snp_report", lambda forge: _with_intermediate(forge, key=rsa_key("small", 3072))),
    "(3e) leaf expired": ("freshness.snp_endorsements", lambda forge: _with_leaf(forge, life=DAY / 2)),
    "(3e) authority expired": ("freshness.snp_endorsements", lambda forge: _with_intermediate(forge, life=DAY / 2)),
    "(3e) leaf from the future": (
        "freshness.snp_endorsements", lambda forge: forge.evidence(leaf=replace(forge, at=forge.at + 2 * DAY).leaf())),
    "(4) root of another installation": ("appraisal.root", _of_another_root),
    "(4) root of another line": ("appraisal.root", _of_another_line),
    "(5a) half a list": ("format.snp_endorsements", _list(delta=True)),
    "(5b) list of another key": ("authenticity.snp_report", _list_of_another_key),
    "(5b) list of another name": ("authenticity.snp_report", _list_of_another_name),
    "(5b) list signed by PKCS 1 v1.5": ("authenticity.snp_report", _list(padding=None)),
    "(5c) list expired": ("freshness.snp_endorsements", _list(days=-60)),
    "(5c) list from the future": ("freshness.snp_endorsements", _list(days=2)),
    "(5d) authority revoked": ("authenticity.snp_report", _list(0x10001)),
    "(5d) leaf revoked": ("authenticity.snp_report", _list(77, 5)),
    "(5d) root revoked": ("authenticity.snp_report", _list(0x10000)),
    "(6) signed by another": ("authenticity.snp_report", _signed_by_another),
    "(6) changed after signing": ("authenticity.snp_report", _changed_after_signing),
    "(7) processor of another line": ("authenticity.snp_report", _processor_of_another_line),
    "(7) processor of another family": ("authenticity.snp_report", _processor_of_another_family),
    "(7) silicon of another line": ("authenticity.snp_report", _endorsed(silicon="Rome-B0")),
    "(8) key of an older TCB": ("authenticity.snp_report", _older_than_reported),
    "(8) another TCB reported": ("authenticity.snp_report", _reported_older),
    "(9) another chip": ("authenticity.snp_report", _reporting(chip_id=b"\x5b" * 8)),
    "(9) key of another chip": ("authenticity.snp_report", _endorsed(hw_id=b"\x5b" * 64)),
    "(9) chip masked": ("authenticity.snp_report", _masked_chip),
    "(9) key of no chip": ("authenticity.snp_report", _endorsed(hw_id=None)),
    "(9) VLEK of a chip": ("authenticity.snp_report", _loaded(hw_id=b"\x5a" * 64)),
    "(9) VLEK of no provider": ("authenticity.snp_report", _loaded(provider=None)),
}  # fmt: skip
"""What is wrong -> the code of the refusal, and how it is made."""

FURTHER: Final[dict[str, SnpDefect]] = {
    "signed by nobody": ("format.snp_report", _reporting(key_flags=7 << 2)),
    "VLEK's by its flag alone": ("authenticity.snp_report", _reporting(key_flags=VLEK_SIGNED)),
    "r with 49 bytes": ("format.snp_report", _set(0x2A0 + 48)),
    "root of no line": ("authenticity.snp_report", _root_of_no_line),
    "reserved TCB byte": (
        "format.snp_report", _reporting(launch_tcb=TCBS[SnpProduct.MILAN][:5] + b"\1" + bytes(2))),
    "no microcode version": ("authenticity.snp_report", _endorsed(n8=None)),
    "version of no bytes": ("authenticity.snp_report", _endorsed(n8=b"")),
    "version of two bytes": ("authenticity.snp_report", _endorsed(n8=b"\2\2\1\0")),
    "version not the shortest": ("authenticity.snp_report", _endorsed(n1=b"\2\2\0\4")),
    "no list": ("format.snp_endorsements", lambda forge: forge.evidence(crl=b"none")),
    "no certificate": (
        "authenticity.snp_report", lambda forge: forge.evidence().model_copy(update={"intermediate": b"none"})),
}  # fmt: skip
"""Likewise."""
