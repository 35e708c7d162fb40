"""What a TPM does with these credentials, tests/unit/client/test_tpm_carrier.py shows with one."""

import secrets

import pytest

from common.crypto.tpm_keys import Activations, make_credential, public_pem, verify_ecdsa
from common.errors import AuthenticityError, FormatError, FreshnessError
from tests.unit.common.tpm.recorded import ATTESTED, KEY, SIGNATURE

X, Y = KEY[-66:-34], KEY[-32:]
R, S = (int.from_bytes(SIGNATURE[at : at + 32], "big") for at in (6, 40))


def test_an_activation_is_of_both_names_and_of_this_boot() -> None:
    activations = Activations()
    shown = activations.secret(b"ek", b"ak")
    activations.require(shown, b"ek", b"ak")
    for other, names in (
        (activations, (b"ek", b"other")),
        (activations, (b"other", b"ak")),
        (Activations(), (b"ek", b"ak")),
    ):
        with pytest.raises(FreshnessError, match="freshness.challenge"):
            other.require(shown, *names)
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        activations.require(secrets.token_bytes(32), b"ek", b"ak")
    assert shown.hex() not in repr(activations)


def test_a_credential_never_comes_out_the_same_twice() -> None:
    made = {make_credential(X, Y, b"name", bytes(32)) for _ in range(3)}
    assert len(made) == 3
    assert {(len(credential), len(secret)) for credential, secret in made} == {(2 + 32 + 2 + 32, 2 + 32 + 2 + 32)}


def test_no_point_of_the_curve_is_no_key() -> None:
    for x, y in ((bytes(32), bytes(32)), (X, X), (X[:-1], Y), (b"", b"")):
        with pytest.raises(FormatError, match="format.message"):
            make_credential(x, y, b"name", bytes(32))
        with pytest.raises(FormatError, match="format.message"):
            public_pem(x, y)


def test_a_signature_is_of_these_bytes() -> None:
    verify_ecdsa(X, Y, (R, S), ATTESTED)
    for signature, signed in (((R, S), ATTESTED + b"\0"), ((S, R), ATTESTED), ((0, 0), ATTESTED), ((R, 0), ATTESTED)):
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            verify_ecdsa(X, Y, signature, signed)
