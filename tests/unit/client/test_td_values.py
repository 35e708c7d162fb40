"""Values of trust domains, read out of quotes of real CPUs: the domain that made a quote meets what is read of it.

Skipped where the folder of vectors is absent (bench/reference_vectors.py says where it is looked for).
"""

from dataclasses import replace

import pytest

from bench.reference_vectors import Vector, vectors
from client.td_values import read_td_value
from common.dcap import NO_PLATFORM_RULES, TdxClaims, appraise
from common.errors import AppraisalError
from common.identifiers import HexBytes48
from common.messages.tcb_terms import TcbStatus, TcbTerms

_ANY_TCB = TcbTerms(accepted_statuses=tuple(status for status in TcbStatus if status is not TcbStatus.REVOKED))
_DOMAINS = [one for one in vectors("authentic") if one.status is not None and one.expected["tee"] == "TDX"]


@pytest.mark.parametrize("vector", _DOMAINS, ids=str)
def test_a_domain_meets_the_value_of_its_own_quote(vector: Vector) -> None:
    value, claims = read_td_value(vector.path / "quote.bin", _ANY_TCB), vector.verify()
    assert isinstance(claims, TdxClaims)
    appraise(claims, value, NO_PLATFORM_RULES, vector.at)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        appraise(replace(claims, mr_td=HexBytes48("5a" * 48)), value, NO_PLATFORM_RULES, vector.at)


def test_there_are_domains_of_real_cpus() -> None:
    if not vectors("authentic"):
        pytest.skip("no folder of reference vectors")
    assert len(_DOMAINS) >= 5
