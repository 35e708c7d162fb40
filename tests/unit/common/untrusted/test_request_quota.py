"""One sender's requests are counted, another's are not touched by it, and memory is bounded."""

import pytest

from common.errors import QuotaError, UnavailableError
from common.untrusted import request_quota
from common.untrusted.request_quota import RequestQuota


class Clock:
    at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(quota: RequestQuota, sender: str) -> int:
    """How many requests in a row are let in."""
    for count in range(1_000):
        try:
            quota.charge(sender)
        except QuotaError:
            return count
    raise AssertionError("there is no end to it")


def test_a_burst_and_then_the_rate(clock: Clock) -> None:
    quota = RequestQuota(2.0, 10, now=clock)
    assert spend(quota, "a") == 10
    assert spend(quota, "a") == 0  # what is refused costs nothing
    clock.at += 1
    assert spend(quota, "a") == 2
    clock.at += 3600
    assert spend(quota, "a") == 10  # no more than a burst is saved up


def test_each_sender_has_its_own(clock: Clock) -> None:
    quota = RequestQuota(2.0, 3, now=clock)
    assert (spend(quota, "a"), spend(quota, "b")) == (3, 3)


def test_senders_are_forgotten_when_their_bucket_is_full_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_quota, "MAX_SENDERS", 3)
    quota = RequestQuota(1.0, 5, now=clock)
    for sender in ("a", "b", "c"):
        quota.charge(sender)
    with pytest.raises(UnavailableError, match="unavailable.full"):
        quota.charge("d")
    quota.charge("a")  # who is known is let in all the same
    clock.at += 1
    quota.charge("d")
    assert spend(quota, "a") == 4  # it was not forgotten
