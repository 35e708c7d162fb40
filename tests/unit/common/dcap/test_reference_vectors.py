"""Quotes of real CPUs, derived and simulated ones: each gives what its `expected.json` demands.

Skipped where the folder of vectors is absent (bench/reference_vectors.py says where it is looked for).
"""

import pytest

from bench.evidence_mutations import mutations, quote_fields
from bench.reference_vectors import Vector, all_vectors, vectors
from common.dcap import intel_roots, require_tcb, verify_quote
from common.dcap.engine import pck_chain_pem
from common.errors import AppraisalError, Refusal
from common.messages.evidence import TrustLevel
from common.messages.platform_inventory import NO_INVENTORY
from common.messages.tcb_terms import TcbStatus, TcbTerms

_AUTHENTIC, _SIMULATED = vectors("authentic"), vectors("simulated")
_GOOD = [vector for vector in all_vectors() if vector.status is not None]


@pytest.mark.parametrize("vector", all_vectors(), ids=str)
def test_each_vector_is_judged_right(vector: Vector) -> None:
    assert vector.problem() is None


def test_none_is_missing() -> None:
    if not all_vectors():
        pytest.skip("no folder of reference vectors")
    assert [len(vectors(folder)) for folder in ("authentic", "derived", "simulated")] == [24, 70, 27]


@pytest.mark.parametrize("vector", [vector for vector in _AUTHENTIC if vector.status], ids=str)
def test_what_authentic_quotes_claim(vector: Vector) -> None:
    claims = vector.verify()
    assert list(claims.machine.advisory_ids) == vector.expected["dcap_qvl_0_7_0"]["advisory_ids"]
    assert claims.trust_level == TrustLevel(vector.expected["tee"].lower()) == claims.platform
    assert claims.machine.fmspc.upper() == vector.expected["fmspc"]


@pytest.mark.parametrize("name", ["tdx4-uptodate-gcp8060", "tdx4-uptodate-azure90C0"])
def test_the_default_terms_accept_the_quotes_of_clouds(name: str) -> None:
    if not _AUTHENTIC:
        pytest.skip("no folder of reference vectors")
    [vector] = [one for one in _AUTHENTIC if str(one) == name]
    require_tcb(vector.verify().machine, TcbTerms(), NO_INVENTORY, vector.at)


@pytest.mark.parametrize("vector", [vector for vector in _AUTHENTIC if vector.status], ids=str)
def test_the_default_terms_accept_what_is_up_to_date_and_nothing_else(vector: Vector) -> None:
    machine = vector.verify().machine
    if vector.status == TcbStatus.UP_TO_DATE:
        require_tcb(machine, TcbTerms(), NO_INVENTORY, vector.at)
    else:
        with pytest.raises(AppraisalError, match=r"appraisal\.tcb_status"):
            require_tcb(machine, TcbTerms(), NO_INVENTORY, vector.at)


@pytest.mark.parametrize("vector", _AUTHENTIC, ids=str)
def test_authentic_outside_its_window(vector: Vector) -> None:
    for at in (vector.at - 3 * 365 * 86400, vector.at + 3 * 365 * 86400):
        with pytest.raises(Refusal):
            verify_quote(vector.evidence(), intel_roots(), at)


@pytest.mark.parametrize("vector", _SIMULATED, ids=str)
def test_simulated_under_intels_root(vector: Vector) -> None:
    with pytest.raises(Refusal):
        verify_quote(vector.evidence(), intel_roots(), vector.at)


@pytest.mark.parametrize("vector", _GOOD, ids=str)
def test_no_changed_field_is_accepted(vector: Vector) -> None:
    """A few of each; the benchmark makes thousands."""
    changed = mutations(vector.evidence(), 4, str(vector))
    assert [str(mutation) for mutation in changed if vector.accepts(mutation.evidence)] == []


@pytest.mark.parametrize("vector", _GOOD, ids=str)
def test_every_field_of_a_quote_is_among_the_changed(vector: Vector) -> None:
    fields = quote_fields(vector.quote)
    assert [one.start for one in fields] == [0, *(one.stop for one in fields[:-1])]
    assert fields[-1].stop == vector.quote.index(pck_chain_pem(vector.quote))
    changed = {one.position for one in mutations(vector.evidence(), 4, str(vector)) if one.field == "quote"}
    assert [field for field in fields if changed.isdisjoint(field)] == []


def test_a_verification_is_replayed_at_its_time() -> None:
    """One chosen time decides all: the answer does not depend on when it is asked for."""
    for vector in _GOOD:
        assert vector.verify() == vector.verify()
