"""Quotes of real CPUs, derived and simulated ones: each gives what its `expected.json` demands.

Skipped where the folder of vectors is absent (tests/fakes/reference_vectors.py says where it is looked for).
"""

import pytest
from pydantic import ValidationError

from common.dcap import intel_roots, verify_quote
from common.errors import Refusal
from common.messages.evidence import TrustLevel
from tests.fakes.reference_vectors import Vector, simulated_roots, vectors

_AUTHENTIC, _DERIVED, _SIMULATED = (vectors(folder) for folder in ("authentic", "derived", "simulated"))


@pytest.mark.parametrize("vector", _AUTHENTIC, ids=str)
def test_authentic(vector: Vector) -> None:
    judged = vector.expected["dcap_qvl_0_7_0"]
    if not judged["ok"]:
        with pytest.raises(Refusal):
            verify_quote(vector.evidence(), intel_roots(), vector.at)
        return
    claims = verify_quote(vector.evidence(), intel_roots(), vector.at)
    assert claims.machine.tcb_status == judged["status"]
    assert list(claims.machine.advisory_ids) == judged["advisory_ids"]
    assert claims.trust_level == TrustLevel(vector.expected["tee"].lower()) == claims.platform
    assert claims.machine.fmspc.upper() == vector.expected["fmspc"]


@pytest.mark.parametrize("vector", _AUTHENTIC, ids=str)
def test_authentic_outside_its_window(vector: Vector) -> None:
    for at in (vector.at - 3 * 365 * 86400, vector.at + 3 * 365 * 86400):
        with pytest.raises(Refusal):
            verify_quote(vector.evidence(), intel_roots(), at)


@pytest.mark.parametrize("vector", _DERIVED, ids=str)
def test_derived(vector: Vector) -> None:
    with pytest.raises((Refusal, ValidationError)) as refused:
        verify_quote(vector.evidence(), intel_roots(), vector.at)
    if vector.path.name.endswith(("before-window", "after-window")):
        assert isinstance(refused.value, Refusal)
        assert refused.value.code == "freshness.collateral"


@pytest.mark.parametrize("vector", _SIMULATED, ids=str)
def test_simulated(vector: Vector) -> None:
    must = str(vector.expected["must"])
    if must.startswith("REJECT"):
        with pytest.raises(Refusal) as refused:
            verify_quote(vector.evidence(), simulated_roots(), vector.at)
        expected = {"REJECT Revoked": "appraisal.tcb_status"}.get(must)
        assert expected is None or refused.value.code == expected
        assert ("debug" in must) == (refused.value.code == "appraisal.debug")
    else:
        claims = verify_quote(vector.evidence(), simulated_roots(), vector.at)
        assert claims.machine.tcb_status == must
        assert claims.trust_level is TrustLevel.SIMULATION


@pytest.mark.parametrize("vector", _SIMULATED, ids=str)
def test_simulated_under_intels_root(vector: Vector) -> None:
    with pytest.raises(Refusal):
        verify_quote(vector.evidence(), intel_roots(), vector.at)
