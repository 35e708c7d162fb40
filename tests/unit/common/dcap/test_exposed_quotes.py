"""What attributes lay open passes where terms name it, and then everything else is verified as strictly as ever.

Two verifiers must agree about such a quote, the engine (by what it refuses it for) and ours. Each is held against the
other here: on all defects of our own, beside each exposure, and on the quotes of real CPUs and changes of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from bench.evidence_mutations import mutations
from bench.reference_vectors import Vector, all_vectors
from common.dcap import SgxClaims, engine, exposed_quote, verification, verify_quote
from common.dcap.claims import QuoteClaims
from common.dcap.engine import require_refused_for_attributes, verify_with_engine
from common.dcap.exposed_quote import verify_by_ourselves, verify_exposed
from common.dcap.exposure import NOT_EXPOSED, exposed_in
from common.dcap.quote_format import parse_quote
from common.errors import AppraisalError, AuthenticityError, Refusal
from common.identifiers import HexBytes48
from common.messages.evidence import TrustLevel
from common.messages.tcb_terms import Exposure, TcbTerms
from tests.fakes.defective_evidence import defects
from tests.fakes.engine_defects import ENGINE_REFUSES, ENGINE_REFUSES_DOMAINS
from tests.fakes.evidence_forge import KINDS, Forge, FullEvidence, Kind
from tests.fakes.switched_off import checked_steps, planned_steps, without

DOMAIN: Final = HexBytes48("01" + "00" * 47)
EVERYTHING: Final = TcbTerms(dangerously_allow=tuple(Exposure), service_domains=(DOMAIN,))
ALL_VECTORS: Final = all_vectors()
_GOOD: Final = [vector for vector in ALL_VECTORS if vector.status is not None]

EXPOSED: Final = {
    "sgx3-debug-enclave", "tdx4-sept-ve-disable-clear", "tdx5-service-td-uptodate",
    "sgx3-debug", "tdx4-debug",
}  # fmt: skip
"""Reference vectors whose only fault is an attribute."""

CROSSED: Final[tuple[tuple[Kind, tuple[Exposure, ...]], ...]] = (
    ("sgx v3", (Exposure.DEBUG,)), ("tdx v4", (Exposure.SEPT_VE,)), ("tdx v4", (Exposure.DEBUG,)),
    ("tdx v5", (Exposure.PROFILING,)), ("tdx v5", (Exposure.MIGRATION,)),
    ("tdx v5 of TD 1.5", ()), ("tdx v5 of TD 1.5", tuple(Exposure)),
)  # fmt: skip
"""What every other defect is tried beside; of TD 1.5 beside a service domain, too."""

NOT_OURS_ALONE: Final = {
    "(6h) TCB below every level", "(6h) module of another signer", "(6h) module of no known version",
}  # fmt: skip
"""What no rule of ours can be switched off for: without a level there is nothing to say of the machine."""


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu")


def exposing(forge: Forge) -> Iterator[tuple[Forge, TcbTerms]]:
    """Forges of every kind whose quotes lay one thing open, with the terms that name just that; and all at once."""
    for kind in KINDS:
        of = forge.of(kind)
        for one in Exposure if of.is_tdx else (Exposure.DEBUG,):
            yield of.exposing(one), TcbTerms(dangerously_allow=(one,))
        if of.extended:
            yield of.exposing(service_domain=bytes.fromhex(DOMAIN)), TcbTerms(service_domains=(DOMAIN,))
            yield of.exposing(*Exposure, service_domain=bytes.fromhex(DOMAIN)), EVERYTHING


def root_of(forge: Forge) -> bytes:
    return forge.platform.pki.root.certificate.public_bytes(Encoding.DER)


def by_ourselves(forge: Forge, evidence: FullEvidence) -> dict[str, Any]:
    return verify_by_ourselves(evidence.quote, evidence.collateral, root_of(forge), forge.time)


def test_what_terms_name_passes_and_says_what_the_engine_says_of_a_closed_one(forge: Forge) -> None:
    for open_forge, terms in exposing(forge):
        evidence = open_forge.evidence()
        claims = verify_quote(evidence, open_forge.roots, open_forge.time, (terms,))
        closed = verify_quote(forge.of(open_forge.kind).evidence(), forge.roots, forge.time)
        assert claims.machine.exposed == exposed_in(parse_quote(evidence.quote)) != NOT_EXPOSED
        assert replace(claims.machine, exposed=NOT_EXPOSED) == closed.machine
        assert closed.machine.exposed == NOT_EXPOSED
        field = "attribute_flags" if isinstance(claims, SgxClaims) else "td_attributes"
        same: Any = {field: getattr(claims, field), "machine": claims.machine}
        assert replace(closed, **same) == claims


def test_nothing_passes_unnamed(forge: Forge) -> None:
    """By default, and where the terms name all but one of what is open."""
    for open_forge, named in exposing(forge):
        evidence = open_forge.evidence()
        others = TcbTerms(
            dangerously_allow=tuple(one for one in Exposure if one not in named.dangerously_allow[:1]),
            service_domains=() if named.service_domains else (DOMAIN,),
        )
        for allowing in ((), (TcbTerms(),), (others,)):
            with pytest.raises(AppraisalError, match=r"appraisal\.(debug|td_attributes|service_td)"):
                verify_quote(evidence, forge.roots, forge.time, allowing)


def test_another_service_domain_than_the_named_one_is_refused(forge: Forge) -> None:
    evidence = forge.of("tdx v5 of TD 1.5").exposing(service_domain=b"\2" * 48).evidence()
    with pytest.raises(AppraisalError, match=r"appraisal\.service_td"):
        verify_quote(evidence, forge.roots, forge.time, (EVERYTHING,))


@pytest.mark.parametrize(("kind", "exposures"), CROSSED)
def test_no_defect_hides_behind_an_exposure(forge: Forge, kind: Kind, exposures: tuple[Exposure, ...]) -> None:
    """The very refusals of closed quotes; for those of step 6 engine and we refuse each by itself."""
    of = forge.of(kind)
    of = of.exposing(*exposures, service_domain=bytes.fromhex(DOMAIN) if of.extended else bytes(48))
    for name, (code, evidence) in defects(of).items():
        if name.startswith("(2)"):
            continue
        with pytest.raises(Refusal) as refused:
            verify_quote(evidence, of.roots, of.time, (EVERYTHING,))
        assert refused.value.code == code, name
        if name.startswith("(6"):
            for verify in (require_refused_for_attributes, verify_by_ourselves):
                with pytest.raises(Refusal) as refused:
                    verify(evidence.quote, evidence.collateral, root_of(of), of.time)
                assert refused.value.code == code, (name, verify)


@pytest.mark.parametrize("kind", KINDS)
def test_each_rule_of_ours_alone_refuses_what_it_is_for(forge: Forge, kind: Kind) -> None:
    of = forge.of(kind)
    chosen = ENGINE_REFUSES | (ENGINE_REFUSES_DOMAINS if of.is_tdx else {})
    named = set()
    for name in chosen.keys() - NOT_OURS_ALONE:
        letter, evidence = name[2], chosen[name][1](of)
        named.add(letter)
        with pytest.raises(Refusal):
            by_ourselves(of, evidence)
        loosened: Any = without(exposed_quote, letter)
        loosened.verify_by_ourselves(evidence.quote, evidence.collateral, root_of(of), of.time)
    assert named == set(planned_steps(str(verify_by_ourselves.__doc__))) == checked_steps(exposed_quote)


@pytest.mark.parametrize("bit", [1, 2, 3, 7, 8, 15, 17, 23, 26, 32, 47, 61])
def test_reserved_bits_are_nobodys_to_allow(forge: Forge, bit: int) -> None:
    """The engine names debug first, and says nothing of them then: they are ours to refuse."""
    of = forge.of("tdx v4")
    report = of.td_report(attributes=1 << 28 | 1 | 1 << bit)
    evidence = of.evidence(report=report)
    require_refused_for_attributes(evidence.quote, evidence.collateral, root_of(of), of.time)
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        verify_quote(evidence, of.roots, of.time, (EVERYTHING,))


def test_each_of_both_verifiers_is_needed(forge: Forge) -> None:
    for open_forge, terms in exposing(forge):
        evidence = open_forge.evidence()
        for one in ("require_refused_for_attributes", "verify_by_ourselves"):
            refusing = patch.object(exposed_quote, one, side_effect=AuthenticityError("authenticity.quote"))
            with refusing, pytest.raises(AuthenticityError):
                verify_quote(evidence, open_forge.roots, open_forge.time, (terms,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_quote_takes_no_part_in_it(forge: Forge, kind: Kind) -> None:
    """Neither the shorter way for what is closed, nor the engine's word about a quoting enclave in debug."""
    of = forge.of(kind)
    good, bad = of.evidence(), ENGINE_REFUSES["(6f) QE in debug"][1](of)
    for evidence in (good, bad):
        with pytest.raises(AuthenticityError):
            verify_exposed(evidence.quote, evidence.collateral, root_of(of), of.time)
    with patch.object(verification, "verify_exposed", side_effect=RuntimeError):
        verify_quote(good, of.roots, of.time, (EVERYTHING,))


def test_debug_makes_a_simulation_of_any_platform(forge: Forge) -> None:
    """Under Intel's own root, too: see `test_real_quotes`."""
    with patch.object(verification, "trust_level_of", return_value=TrustLevel.TDX):
        for exposure, level in ((Exposure.DEBUG, TrustLevel.SIMULATION), (Exposure.SEPT_VE, TrustLevel.TDX)):
            evidence = forge.of("tdx v4").exposing(exposure).evidence()
            assert verify_quote(evidence, forge.roots, forge.time, (EVERYTHING,)).trust_level == level


# -- against the engine ----------------------------------------------------------------------------------------------


def judged(vector: Vector, evidence: FullEvidence, verify: Any) -> QuoteClaims | str:
    """What a verification says with this for step 6: claims, or a code."""
    with patch.object(verification, "verify_with_engine", verify):
        try:
            return verify_quote(evidence, vector.roots, vector.at)
        except Refusal as refusal:
            return refusal.code


@pytest.mark.parametrize("vector", ALL_VECTORS, ids=str)
def test_we_say_of_each_reference_vector_what_the_engine_says(vector: Vector) -> None:
    try:
        evidence = vector.evidence()
    except (ValueError, Refusal):
        return  # no evidence, so no verification
    assert judged(vector, evidence, verify_by_ourselves) == judged(vector, evidence, verify_with_engine)


@pytest.mark.parametrize("vector", _GOOD, ids=str)
def test_we_accept_no_change_that_the_engine_refuses(vector: Vector) -> None:
    for mutation in mutations(vector.evidence(), 3, f"exposed {vector}"):
        ours, engines = (judged(vector, mutation.evidence, one) for one in (verify_by_ourselves, verify_with_engine))
        assert isinstance(ours, str), mutation
        assert isinstance(engines, str), mutation


@pytest.mark.parametrize("vector", [one for one in ALL_VECTORS if str(one) in EXPOSED], ids=str)
def test_real_quotes(vector: Vector) -> None:
    """Their TCB is what Intel's library, and another verification, found; real debug enclaves are simulations here."""
    evidence = vector.evidence()
    service = exposed_in(parse_quote(evidence.quote)).service_domain
    terms = TcbTerms(dangerously_allow=tuple(Exposure), service_domains=(service,) if service else ())
    with pytest.raises(AppraisalError):
        vector.verify()
    claims = verify_quote(evidence, vector.roots, vector.at, (terms,))
    other = vector.expected.get("independent_check")
    if other is not None:
        parts = {other["platform_tcb"], other["qe_tcb"]}
        assert claims.machine.tcb_status == ("OutOfDate" if "OutOfDate" in parts else "UpToDate")
        assert set(other["platform_advisories"]) <= set(claims.machine.advisory_ids)
    intels = {"OK": "UpToDate", "TCB_OUT_OF_DATE": "OutOfDate"}
    assert claims.machine.tcb_status == intels[vector.expected["intel_qvl"]["quote"]]
    hardware = vector.path.parent.name == "authentic" and not claims.is_debug
    assert claims.trust_level == (claims.platform if hardware else TrustLevel.SIMULATION)


def test_a_real_one_with_another_fault_stays_refused() -> None:
    """Of a debug enclave, and the chain of its PCK CRL is the root twice."""
    for vector in ALL_VECTORS:
        if str(vector) == "sgx3-debug-qe-outofdate":
            for allowing, code in (((), r"appraisal\.debug"), ((EVERYTHING,), r"format\.collateral")):
                with pytest.raises(Refusal, match=code):
                    verify_quote(vector.evidence(), vector.roots, vector.at, allowing)


@pytest.mark.parametrize("vector", [one for one in ALL_VECTORS if str(one) in EXPOSED], ids=str)
def test_no_changed_field_of_a_real_one_is_accepted(vector: Vector) -> None:
    good = vector.evidence()
    service = exposed_in(parse_quote(good.quote)).service_domain
    terms = TcbTerms(dangerously_allow=tuple(Exposure), service_domains=(service,) if service else ())
    for mutation in mutations(good, 6, str(vector)):
        with pytest.raises(Refusal):
            verify_quote(mutation.evidence, vector.roots, vector.at, (terms,))


def test_what_the_engine_may_say_of_attributes_is_all_it_says(forge: Forge) -> None:
    """Word for word: a longer text that only contains them is another refusal."""
    said = set()
    for open_forge, _ in exposing(forge):
        evidence = open_forge.evidence()
        try:
            engine._ask(evidence.quote, evidence.collateral, root_of(open_forge), open_forge.time)
        except ValueError as refusal:
            said.add(str(refusal))
    assert said == engine._ATTRIBUTE_REFUSALS
