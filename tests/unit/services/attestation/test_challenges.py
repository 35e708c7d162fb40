import pytest

from common.errors import FreshnessError
from common.identifiers import Digest, JobId
from services.attestation.challenges import LIFETIME_SECONDS, MAX_OPEN, Challenges, OpenChallenge
from tests.fakes.broker_world import TRAINER

JOB = JobId("job_" + "0" * 32)


def issue(challenges: Challenges) -> OpenChallenge:
    return challenges.issue(JOB, TRAINER, 0, attempt=1, subject=Digest("00" * 32), at=100)


def test_a_challenge_is_spent_once() -> None:
    challenges = Challenges()
    one = issue(challenges)
    assert challenges.spend(one.challenge_id, 100 + LIFETIME_SECONDS) == one
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        challenges.spend(one.challenge_id, 100)


def test_a_stale_one_is_spent_by_the_attempt() -> None:
    challenges = Challenges()
    one = issue(challenges)
    for at in (101 + LIFETIME_SECONDS, 100):
        with pytest.raises(FreshnessError, match="freshness.challenge"):
            challenges.spend(one.challenge_id, at)


def test_a_flood_pushes_out_the_oldest_only() -> None:
    challenges = Challenges()
    first, second = issue(challenges), issue(challenges)
    for _ in range(MAX_OPEN - 1):
        issue(challenges)
    assert challenges.open_for(JOB, TRAINER) == MAX_OPEN
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        challenges.spend(first.challenge_id, 100)
    challenges.spend(second.challenge_id, 100)


def test_no_two_are_alike() -> None:
    challenges = Challenges()
    assert len({issue(challenges).nonce for _ in range(100)}) == 100
