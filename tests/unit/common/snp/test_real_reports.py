"""Reports of real machines of three generations: accepted as they are, and refused with anything changed."""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.x509 import load_der_x509_certificate

from common.certificate_links import is_link
from common.errors import AppraisalError, AuthenticityError, FreshnessError, Refusal
from common.messages.evidence import TrustLevel
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct, SnpTcb
from common.messages.tcb_terms import Exposure
from common.snp import SnpRoot, amd_roots, certificates, verify_report
from common.snp.certificates import common_name, is_pss, require_chain
from common.snp.report_format import parse_report
from common.snp.revocation import require_unrevoked
from common.snp.roots import ARK_KEY_SHA256
from tests.fakes.real_snp_reports import AT, certificate, debug_evidence, piece, real_evidence
from tests.fakes.snp_forge import issue, rsa_key

YEAR = 365 * 86_400
EVERY_BIT = "CLOISTER_EVERY_BIT" in os.environ
ALL = pytest.mark.parametrize("product", SnpProduct)
TCBS = {
    SnpProduct.MILAN: SnpTcb(boot_loader=4, tee=0, snp=24, microcode=219),
    SnpProduct.GENOA: SnpTcb(boot_loader=10, tee=0, snp=23, microcode=84),
    SnpProduct.TURIN: SnpTcb(fmc=1, boot_loader=1, tee=1, snp=4, microcode=81),
}


@ALL
def test_a_real_report_is_accepted_under_amds_roots(product: SnpProduct) -> None:
    claims = verify_report(real_evidence(product), amd_roots(), AT)
    assert claims.trust_level is TrustLevel.SEV_SNP
    assert (claims.machine.product, claims.machine.signer, claims.vmpl) == (product, "VCEK", 0)
    assert set(claims.machine.tcbs.values()) == {TCBS[product]}
    assert len(claims.machine.chip or "") == (16 if product is SnpProduct.TURIN else 128)
    assert (claims.policy.least_abi, claims.policy.openings) == ((0, 31), frozenset())
    assert claims.measurement.encode() == piece(product, "report.bin")[0x90:0xC0].hex().encode()
    assert (claims.machine.mitigations is None) == (product is not SnpProduct.TURIN)


@ALL
def test_it_is_refused_under_the_root_of_another_line(product: SnpProduct) -> None:
    others = tuple(SnpRoot(one, ARK_KEY_SHA256[product]) for one in SnpProduct if one is not product)
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_report(real_evidence(product), others, AT)


@ALL
def test_it_has_its_time(product: SnpProduct) -> None:
    for at in (AT - 60 * 86_400, AT + 60 * 86_400, AT - YEAR, AT + 10 * YEAR):
        with pytest.raises(FreshnessError, match=r"freshness\.snp_endorsements"):
            verify_report(real_evidence(product), amd_roots(), at)


@ALL
def test_another_machines_piece_is_refused(product: SnpProduct) -> None:
    good = real_evidence(product)
    for other in set(SnpProduct) - {product}:
        for name in ("report", "signer", "intermediate", "root", "crl"):
            with pytest.raises(AuthenticityError, match=r"authenticity\.snp_report"):
                verify_report(good.model_copy(update={name: getattr(real_evidence(other), name)}), amd_roots(), AT)


def test_the_list_of_genoa_takes_back_an_authority_that_was_replaced() -> None:
    """Serial 020001. Nobody publishes that certificate, so another one stands in for it."""
    good = real_evidence(SnpProduct.GENOA)
    chain = require_chain(good, "VCEK", AT)
    require_unrevoked(good.crl, chain, AT)
    assert chain.intermediate.serial_number == 0x20002
    revoked = issue("SEV-Genoa", rsa_key("ask"), None, datetime.now(UTC), serial=0x20001).certificate
    with pytest.raises(AuthenticityError, match=r"authenticity\.snp_report"):
        require_unrevoked(good.crl, replace(chain, intermediate=revoked), AT)


def test_a_report_of_version_4_is_read() -> None:
    report = parse_report(piece(SnpProduct.MILAN, "v4_report.bin"))
    assert (report.version, report.cpuid, report.signer, report.mitigations) == (4, (0x19, 0x01), "VCEK", None)


def test_a_real_guest_in_debug_is_refused_and_where_it_is_named_a_simulation() -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.debug"):
        verify_report(debug_evidence(), amd_roots(), AT)
    claims = verify_report(debug_evidence(), amd_roots(), AT, (Exposure.DEBUG,))
    assert (claims.is_debug, claims.trust_level) == (True, TrustLevel.SIMULATION)
    assert claims.machine.tcbs["launch"] == SnpTcb(boot_loader=2, tee=0, snp=5, microcode=68)


@ALL
def test_the_authorities_of_vleks_have_the_names_and_roles_that_we_ask_for(product: SnpProduct) -> None:
    """No VLEK is public, but who issues them: it takes the ASK's place, and the VCEK does not fit it."""
    asvk, good = certificate(product, "asvk"), real_evidence(product)
    read = load_der_x509_certificate(asvk)
    assert common_name(read) == f"SEV-VLEK-{product}"
    assert is_link(asvk, good.root)
    assert is_pss(read)
    assert certificates._is_ca(read, 0)
    with pytest.raises(AuthenticityError, match=r"authenticity\.snp_report"):
        verify_report(good.model_copy(update={"intermediate": asvk}), amd_roots(), AT)


def mutations(good: SevSnpEvidence, name: str) -> Iterator[SevSnpEvidence]:
    """A bit changed, or a whole byte, at each position of a piece in turn; and something missing, or more."""
    raw = getattr(good, name)
    for position in range(len(raw)):
        one = 1 << position % 8 if position % 3 else position * 167 % 255 + 1
        for flip in (1 << bit for bit in range(8)) if EVERY_BIT else (one,):
            yield good.model_copy(update={name: raw[:position] + bytes([raw[position] ^ flip]) + raw[position + 1 :]})
    for other in (raw[:-1], raw[1:], raw + b"\0", raw[: len(raw) // 2], b""):
        yield good.model_copy(update={name: other})


@ALL
@pytest.mark.parametrize("name", ["report", "signer", "intermediate", "root", "crl"])
def test_nothing_that_was_changed_is_accepted(product: SnpProduct, name: str) -> None:
    """20,184 changes in all; with CLOISTER_EVERY_BIT each of 160,872 bits, in a minute."""
    accepted = []
    for number, changed in enumerate(mutations(real_evidence(product), name)):
        try:
            verify_report(changed, amd_roots(), AT)
        except Refusal:
            continue
        accepted.append(number)
    assert number >= 800
    assert accepted == []


@pytest.mark.skipif(importlib.util.find_spec("omne_attest") is None, reason="omne-attest is not installed")
class TestAgainstAnother:
    """omne-attest (PyPI, Apache-2.0) knows nothing of us, of Turin, or of lists."""

    @pytest.mark.parametrize("product", [SnpProduct.MILAN, SnpProduct.GENOA])
    def test_it_reads_the_same_and_accepts_the_same(self, product: SnpProduct) -> None:
        other: Any = importlib.import_module("omne_attest")
        good = real_evidence(product)
        pin = hashlib.sha256(good.root).digest()
        theirs = other.verify(good.report, good.signer, good.intermediate, good.root, pin, other.Policy())
        ours = verify_report(good, amd_roots(), AT)
        assert theirs.measurement.hex() == ours.mr_launch
        assert (theirs.report_data, theirs.host_data.hex()) == (ours.report_data, ours.host_data)
        assert (theirs.guest_svn, theirs.vmpl, theirs.policy) == (ours.guest_svn, ours.vmpl, ours.policy.bits)
        assert theirs.platform_info == ours.machine.info.bits
        assert theirs.chip_id.hex() == ours.machine.chip
        for name, tcb in ours.machine.tcbs.items():
            said = getattr(theirs, f"{name}_tcb")
            assert (said.boot_loader, said.tee, said.snp, said.microcode) == (
                tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode)  # fmt: skip
