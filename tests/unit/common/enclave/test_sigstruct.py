"""SIGSTRUCT: what is read, and that each check refuses what only it can."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from common.enclave.sigstruct import SIGSTRUCT_BYTES, parse_sigstruct
from common.errors import AppraisalError, AuthenticityError, FormatError, Refusal
from common.messages.reference_values import XFRM_KNOWN, SgxReferenceValue
from common.messages.tcb_terms import TcbTerms
from tests.fakes.sigstructs import KEY_BYTES, little, modulus, signed, sigstruct, unsigned

CODE = bytes(range(32))
GOOD = sigstruct(CODE, isv_prod_id=7, isv_svn=0x0102)
TERMS = TcbTerms(min_tcb_evaluation=17)


def changed(at: int, value: bytes) -> bytes:
    return GOOD[:at] + value + GOOD[at + len(value) :]


def test_what_is_read() -> None:
    read = parse_sigstruct(GOOD)
    assert read.mr_enclave == CODE.hex()
    assert read.mr_signer == hashlib.sha256(modulus()).hexdigest()
    assert (read.isv_prod_id, read.isv_svn, read.is_debug) == (7, 258, False)


def test_the_reference_value_is_what_a_quote_of_it_states() -> None:
    assert parse_sigstruct(GOOD).reference_value(TERMS) == SgxReferenceValue(
        mr_enclave=parse_sigstruct(GOOD).mr_enclave, attribute_flags=0x05, required_xfrm=0x3,
        allowed_xfrm=XFRM_KNOWN, tcb=TERMS,
    )  # fmt: skip


def test_features_that_a_manifest_demands_or_forbids_are_fixed() -> None:
    fixed = parse_sigstruct(sigstruct(CODE, misc_select=1, xfrm=0x7, xfrm_mask=2**64 - 1)).reference_value(TERMS)
    assert (fixed.misc_select, fixed.required_xfrm, fixed.allowed_xfrm) == (1, 0x7, 0x7)


def test_a_debug_enclave_is_shown_and_never_released() -> None:
    debug = parse_sigstruct(sigstruct(CODE, flags=0x06))
    assert debug.is_debug
    with pytest.raises(AppraisalError, match="appraisal.debug"):
        debug.reference_value(TERMS)


@pytest.mark.parametrize("size", [0, SIGSTRUCT_BYTES - 1, SIGSTRUCT_BYTES + 1])
def test_another_size_is_none(size: int) -> None:
    with pytest.raises(FormatError, match="format.sigstruct"):
        parse_sigstruct((GOOD + b"\0")[:size])


@pytest.mark.parametrize("at", [0, 24, 16, 44, 127, 910, 992, 1007])
def test_headers_vendor_and_reserved_fields_count_even_when_they_are_signed(at: int) -> None:
    raw = unsigned(CODE)
    raw[at] ^= 0x01
    with pytest.raises(FormatError, match="format.sigstruct"):
        parse_sigstruct(signed(raw))


@pytest.mark.parametrize("at", [1028, 1039, 1040, 1423, 1424, 1807])
def test_what_no_signature_covers_is_checked(at: int) -> None:
    with pytest.raises(FormatError, match="format.sigstruct"):
        parse_sigstruct(changed(at, bytes([GOOD[at] ^ 0x01])))


@pytest.mark.parametrize("at", [20, 40, 900, 928, 944, 960, 991, 1008, 1024, 1026])
def test_a_changed_field_is_not_signed(at: int) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        parse_sigstruct(changed(at, bytes([GOOD[at] ^ 0x01])))


def test_a_signature_by_another_key_is_refused() -> None:
    other = generate_private_key(public_exponent=3, key_size=3072)
    with pytest.raises(Refusal):
        parse_sigstruct(changed(128, modulus(other)))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (512, little(65537, 4)),
        (128, little(2**3071 - 1, KEY_BYTES)),
        (128, little(2**3071, KEY_BYTES)),
        (516, modulus()),
    ],
)
def test_weak_or_impossible_numbers_are_refused_before_they_are_used(at: int, value: bytes) -> None:
    with pytest.raises(FormatError, match="format.sigstruct"):
        parse_sigstruct(changed(at, value))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, SIGSTRUCT_BYTES - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(at: int, flip: int) -> None:
    with pytest.raises(Refusal):
        parse_sigstruct(changed(at, bytes([GOOD[at] ^ flip])))
