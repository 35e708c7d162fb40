"""Answers about revocation: of whom, by whom, how new, and what they say."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseBuilder, OCSPResponseStatus
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FormatError, Refusal
from common.nvidia import revocation
from common.nvidia.certificates import DEVICE_CERTIFICATES, RIM_CERTIFICATES, Chain, require_chain
from common.nvidia.revocation import read_answers, require_unrevoked
from tests.fakes.gpu_forge import AT, Party, certify, forge
from tests.fakes.switched_off import checked_steps, planned_steps
from tests.parsers.spoilt import spoilt

WEEK: Final = 7 * 86_400
DEVICE: Final = forge().gpu().chain
ROM, ICA, FAMILY, ROOT = DEVICE[1:]
GOOD: Final = forge().answers(DEVICE)


def chain_of(parties: tuple[Party, ...] = DEVICE) -> Chain:
    rim = len(parties) == RIM_CERTIFICATES
    subject, root = ("rim", forge().roots.rim_key_sha256) if rim else ("gpu_report", forge().roots.device_key_sha256)
    length = RIM_CERTIFICATES if rim else DEVICE_CERTIFICATES
    return require_chain(tuple(one.der for one in parties), length, subject, root, AT)


def judge(*answers: bytes, max_age: int = WEEK, may_be_unknown: bool = False) -> None:
    require_unrevoked(chain_of(), read_answers(answers), max_age, AT, may_be_unknown=may_be_unknown)


def refused(*answers: bytes, max_age: int = WEEK, may_be_unknown: bool = False) -> str:
    with pytest.raises(Refusal) as refusal:
        judge(*answers, max_age=max_age, may_be_unknown=may_be_unknown)
    return refusal.value.code


def about_rom(**said: object) -> bytes:
    return forge().answer(ROM, ICA, **said)  # type: ignore[arg-type]


OTHERS: Final = tuple(forge().answer(one, issuer) for one, issuer in ((ICA, FAMILY), (FAMILY, ROOT)))


def test_good_answers_about_everyone() -> None:
    judge(*GOOD)
    judge(*OTHERS, about_rom(), *GOOD)
    rim = chain_of(forge().rim_chain)
    require_unrevoked(rim, read_answers(forge().answers(forge().rim_chain)), WEEK, AT)
    with pytest.raises(Refusal, match="freshness.ocsp"):
        require_unrevoked(rim, read_answers(forge().answers(forge().rim_chain)[1:]), WEEK, AT)  # a signer counts


def test_each_step_of_the_plan_is_made() -> None:
    assert set(planned_steps(str(revocation.__doc__))) == checked_steps(revocation)


def test_the_devices_own_certificate_has_no_answer() -> None:
    judge(*OTHERS, about_rom())


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_answer(missing: int) -> None:
    assert refused(about_rom(), OTHERS[missing]) == "freshness.ocsp"
    judge(about_rom(), OTHERS[missing], may_be_unknown=True)
    assert refused(*OTHERS) == "freshness.ocsp"


@pytest.mark.parametrize(
    "said",
    [
        {"age_seconds": -1},
        {"age_seconds": 60, "lasts_seconds": 59},
        {"age_seconds": WEEK + 1, "lasts_seconds": 2 * WEEK},
    ],
)
def test_an_answer_that_is_not_of_now(said: dict[str, int]) -> None:
    assert refused(*OTHERS, about_rom(**said)) == "freshness.ocsp"


def test_the_bound_is_the_verifiers() -> None:
    judge(*OTHERS, about_rom(age_seconds=61), max_age=61)
    assert refused(*OTHERS, about_rom(age_seconds=61), max_age=60) == "freshness.ocsp"


@pytest.mark.parametrize("status", [OCSPCertStatus.REVOKED, OCSPCertStatus.UNKNOWN])
def test_a_certificate_that_is_not_good(status: OCSPCertStatus) -> None:
    for age in (60, WEEK * 10):
        bad = about_rom(status=status, age_seconds=age)
        assert refused(*OTHERS, bad) == "appraisal.gpu_revoked"
        assert refused(bad, may_be_unknown=True) == "appraisal.gpu_revoked"


def test_the_newest_answer_counts() -> None:
    revoked, good = about_rom(status=OCSPCertStatus.REVOKED, age_seconds=100), about_rom(age_seconds=50)
    judge(*OTHERS, revoked, good)
    later = about_rom(status=OCSPCertStatus.REVOKED, age_seconds=10)
    assert refused(*OTHERS, later, revoked, good) == "appraisal.gpu_revoked"


def test_a_responder_that_the_issuer_certified() -> None:
    judge(*OTHERS, about_rom(signer=forge().responder(ICA)))


def test_somebody_else_answers() -> None:
    now = datetime.fromtimestamp(AT, UTC)
    for signer in (
        FAMILY,  # above the issuer, but not the issuer
        forge().responder(FAMILY),
        forge().responder(ROM),
        certify("An OCSP responder", ICA, ca=False),  # certified, but not for this
        forge().responder(ICA, end=now - timedelta(seconds=1)),
        forge().responder(ICA, begin=now + timedelta(seconds=1)),
        certify("An OCSP responder", None),
    ):
        assert refused(*OTHERS, about_rom(signer=signer)) == "authenticity.ocsp"
        assert refused(about_rom(signer=signer), may_be_unknown=True) == "authenticity.ocsp"


def test_an_answer_about_a_namesake() -> None:
    """The same serial number under another issuer is another certificate."""
    other = forge().gpu("GB100").chain
    assert refused(*OTHERS, forge().answer(ROM, other[2])) == "freshness.ocsp"


def test_a_changed_answer() -> None:
    good, codes = about_rom(), set()
    for at in range(len(good)):
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        codes.add(refused(*OTHERS, changed).split(".")[1])
    assert codes == {"ocsp"}


def test_an_unsuccessful_answer() -> None:
    made = OCSPResponseBuilder.build_unsuccessful(OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
    assert refused(*GOOD, made) == "format.ocsp"


@given(st.one_of(st.binary(max_size=200), spoilt(GOOD)))
def test_only_format_errors_of_any_bytes(raw: bytes) -> None:
    with suppress(FormatError):
        read_answers((raw,))
