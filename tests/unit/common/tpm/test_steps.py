"""A recorded step: the proof verifies without a TPM at hand."""

import pytest

from common.crypto.digests import sha256
from common.errors import AuthenticityError
from common.tpm.layouts import AttestationKey, counter_name
from common.tpm.steps import audit_digest, step_purpose, verify_step
from tests.unit.common.tpm.recorded import ATTESTED, INDEX, KEY, PURPOSE, SIGNATURE, VALUE


def test_a_recorded_step_verifies() -> None:
    verify_step(AttestationKey.parse(KEY), INDEX, VALUE, PURPOSE, ATTESTED, SIGNATURE)
    assert ATTESTED.endswith(audit_digest(INDEX, VALUE, PURPOSE))


@pytest.mark.parametrize(
    ("index", "value", "purpose"),
    [(INDEX + 1, VALUE, PURPOSE), (INDEX, VALUE - 1, PURPOSE), (INDEX, VALUE + 1, PURPOSE), (INDEX, VALUE, bytes(32))],
)
def test_it_is_one_of_that_counter_value_and_purpose(index: int, value: int, purpose: bytes) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.tpm"):
        verify_step(AttestationKey.parse(KEY), index, value, purpose, ATTESTED, SIGNATURE)


@pytest.mark.parametrize("at", [0, 4, 5], ids=["magic", "type high", "type low"])
def test_bytes_that_the_tpm_did_not_make_are_no_attestation(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is taken for good here: what a restricted key signs begins with TPM_GENERATED."""
    monkeypatch.setattr("common.tpm.steps.verify_ecdsa", lambda *_: None)
    spoilt = bytearray(ATTESTED)
    spoilt[at] ^= 1
    with pytest.raises(AuthenticityError, match="authenticity.tpm"):
        verify_step(AttestationKey.parse(KEY), INDEX, VALUE, PURPOSE, bytes(spoilt), SIGNATURE)


def test_purposes_differ_by_broker_size_and_root() -> None:
    a, b = sha256(b"a"), sha256(b"b")
    made = {step_purpose(*one) for one in ((a, 1, b), (b, 1, b), (a, 2, b), (a, 1, a))}
    assert len(made) == 4


def test_a_counters_name_is_that_of_its_handle() -> None:
    assert counter_name(INDEX) != counter_name(INDEX + 1)
    assert len(counter_name(INDEX)) == 2 + 32
