"""Evidence of guests on a test root: every line, version and kind of key; and what is refused, however it is put."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import AppraisalError, FormatError, Refusal
from common.messages.evidence import TrustLevel
from common.messages.snp_evidence import SNP_REPORT_BYTES
from common.messages.snp_reference_values import SnpProduct
from common.messages.tcb_terms import Exposure
from common.snp import SnpRoot, amd_roots, verify_report
from common.snp.report_format import Signer, parse_report
from common.snp.roots import ARK_KEY_SHA256, trust_level_of
from tests.fakes.snp_defects import FURTHER
from tests.fakes.snp_forge import SnpForge
from tests.fakes.snp_reports import DEBUG, MIGRATE_MA, sign_report

FORGE = SnpForge()
OPEN = 0b11 << 16 | DEBUG | MIGRATE_MA


@pytest.mark.parametrize("product", SnpProduct)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("signer", ["VCEK", "VLEK"])
def test_each_line_version_and_key_is_accepted_under_its_root(
    product: SnpProduct, version: int, signer: Signer
) -> None:
    forge = replace(FORGE, signer=signer).of(product, version)
    claims = verify_report(forge.evidence(), forge.roots, forge.time)
    assert claims.trust_level is TrustLevel.SIMULATION
    assert (claims.machine.product, claims.machine.signer) == (product, signer)
    assert claims.machine.provider == ("a cloud" if signer == "VLEK" else None)
    assert claims.machine.mitigations == ((63, 63) if version == 5 else None)


def test_every_field_is_claimed_as_it_was_reported() -> None:
    forge = FORGE.of(SnpProduct.TURIN)
    claims = verify_report(
        forge.reporting(
            guest_svn=7, family_id=b"f" * 16, image_id=b"i" * 16, vmpl=2, report_data=b"r" * 64, measurement=b"m" * 48,
            host_data=b"h" * 32, id_key_digest=b"k" * 48, author_key_digest=b"a" * 48, key_flags=1, report_id=b"1" * 32,
            report_id_ma=b"2" * 32, current_version=(1, 55, 3), committed_version=(2, 54, 3), mitigations=(5, 7),
            current_tcb=b"\1\2\3\4\0\0\0\5", committed_tcb=b"\2\2\3\4\0\0\0\5", launch_tcb=b"\3\2\3\4\0\0\0\5",
        ),
        forge.roots, forge.time,
    )  # fmt: skip
    machine = claims.machine
    assert (claims.guest_svn, claims.vmpl, claims.report_data, claims.family_id) == (7, 2, b"r" * 64, b"f" * 16)
    assert (claims.image_id, claims.mr_launch, claims.measurement) == (b"i" * 16, "6d" * 48, "6d" * 48)
    assert (claims.host_data, claims.id_key_digest, claims.author_key_digest) == ("68" * 32, "6b" * 48, "61" * 48)
    assert (claims.report_id, claims.report_id_ma) == ("31" * 32, "32" * 32)
    assert (machine.current_version, machine.committed_version) == ((3, 55, 1), (3, 54, 2))
    assert (machine.mitigations, machine.chip) == ((5, 7), "5a" * 8)
    assert [machine.tcbs[name].fmc for name in ("reported", "current", "committed", "launch")] == [1, 1, 2, 3]
    assert (machine.tcbs["launch"].snp, machine.tcbs["launch"].microcode) == (4, 5)


def test_a_vlek_leaves_the_chip_to_its_provider() -> None:
    forge = replace(FORGE, signer="VLEK")
    assert verify_report(forge.reporting(chip_id=bytes(64)), forge.roots, forge.time).machine.chip is None


@pytest.mark.parametrize("silicon", ["Genoa", "Genoa-B2", "Siena-A0", "Bergamo-A2"])
def test_silicon_of_one_line_has_several_names(silicon: str) -> None:
    forge = FORGE.of(SnpProduct.GENOA)
    evidence = forge.evidence(forge.report(cpuid=(0x19, 0xA0, 2)), leaf=forge.leaf(silicon=silicon))
    assert verify_report(evidence, forge.roots, forge.time).machine.product is SnpProduct.GENOA


@pytest.mark.parametrize("name", FURTHER)
def test_further_defects_are_refused(name: str) -> None:
    code, make = FURTHER[name]
    with pytest.raises(Refusal) as refused:
        verify_report(make(FORGE), FORGE.roots, FORGE.time)
    assert refused.value.code == code


def test_what_is_named_may_lie_open_and_all_of_it_must_be_named() -> None:
    evidence = FORGE.reporting(policy=OPEN)
    for named, code in (((), "debug"), ((Exposure.MIGRATION,), "debug"), ((Exposure.DEBUG,), "guest")):
        with pytest.raises(AppraisalError, match=rf"appraisal\.{code}"):
            verify_report(evidence, FORGE.roots, FORGE.time, named)
    claims = verify_report(evidence, FORGE.roots, FORGE.time, (Exposure.DEBUG, Exposure.MIGRATION))
    assert claims.is_debug


def test_amds_roots_do_not_know_a_test_root() -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_report(FORGE.evidence(), amd_roots(), FORGE.time)


def test_amds_key_makes_a_tee_real_for_its_own_line_alone() -> None:
    levels = {
        (product, line): trust_level_of(SnpRoot(line, ARK_KEY_SHA256[product]))
        for product in SnpProduct
        for line in SnpProduct
    }
    assert {pair for pair, level in levels.items() if level is TrustLevel.SEV_SNP} == {(one, one) for one in SnpProduct}
    assert set(levels.values()) == {TrustLevel.SEV_SNP, TrustLevel.SIMULATION}


@given(st.binary(max_size=2 * SNP_REPORT_BYTES))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.snp_report"):
        parse_report(raw)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=0x2A0, max_size=0x2A0), st.sampled_from([2, 3, 4, 5]))
def test_a_report_is_read_or_refused_and_what_is_read_has_no_reserved_bits(signed: bytes, version: int) -> None:
    raw = sign_report(version.to_bytes(4, "little") + signed[4:], FORGE.key)
    with suppress(FormatError):
        assert parse_report(raw).policy.is_known
