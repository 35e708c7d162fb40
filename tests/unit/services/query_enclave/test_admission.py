"""What a front takes on: no party fills it, and it holds no more than it has room for."""

import contextlib

import pytest

from common.crypto.signing import SigningKey
from common.errors import QuotaError, UnavailableError
from services.query_enclave.admission import Admission

ONE, OTHER, THIRD = (SigningKey.generate().party for _ in range(3))


def test_a_party_has_so_many_queries_and_bytes_and_others_have_theirs() -> None:
    admission = Admission(held_bytes=100, party_bytes=40, party_requests=2)
    with admission.take(ONE, queries=1, count=40), admission.take(ONE, queries=1):
        for taken in ({"queries": 1}, {"count": 1}):
            with pytest.raises(QuotaError, match=r"quota\.requests"), admission.take(ONE, **taken):
                pass
        with admission.take(OTHER, queries=2, count=40):
            pass


def test_all_together_have_so_many_bytes() -> None:
    admission = Admission(held_bytes=100, party_bytes=40)
    with admission.take(ONE, count=40), admission.take(OTHER, count=40):
        with pytest.raises(UnavailableError, match=r"unavailable\.full"), admission.take(THIRD, count=21):
            pass
        with admission.take(THIRD, count=20):
            pass


def test_what_is_over_is_given_back_and_forgotten_whatever_ended_it() -> None:
    admission = Admission(held_bytes=10, party_bytes=10, party_requests=1)
    for _ in range(3):
        with contextlib.suppress(RuntimeError), admission.take(ONE, queries=1, count=10):
            raise RuntimeError("the request failed")
    assert not admission._requests
    assert not admission._bytes
