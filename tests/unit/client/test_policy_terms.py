"""Policies begin by allowing nobody, and later versions chain to the ones before."""

from pathlib import Path

import pytest

from client.context import Party
from client.policy_terms import NOBODY, PolicyTerms, policy_version, sign_policy
from common.errors import AuthenticityError
from common.identifiers import PartyKey
from common.messages.policy import DataPolicy
from common.messages.signed import open_signed

PROVIDER = PartyKey("a" * 64)


@pytest.fixture
def owner(tmp_path: Path) -> Party:
    """An owner who accepts simulated platforms."""
    return Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)


def test_version_one_allows_nobody(owner: Party) -> None:
    signed = sign_policy(owner, NOBODY)
    policy = open_signed(signed, DataPolicy, [owner.identity.signing_key.party])
    assert (policy.policy_version, policy.previous) == (1, None)
    assert (policy.providers, policy.max_jobs, policy.answers_total) == ((), 0, 0)
    assert not policy.grants_to_provider


def test_later_versions_chain(owner: Party) -> None:
    first = sign_policy(owner, NOBODY)
    second = sign_policy(owner, PolicyTerms(providers=(PROVIDER,), answers_total=10), first)
    policy = open_signed(second, DataPolicy, [owner.identity.signing_key.party])
    assert (policy.policy_version, policy.previous) == (2, first.digest)
    assert policy.providers == (PROVIDER,)
    assert policy_version(sign_policy(owner, NOBODY, second)) == 3


def test_the_floor_is_hardware_unless_the_identity_says_otherwise(owner: Party, tmp_path: Path) -> None:
    careful = Party.create(tmp_path / "careful", "careful", unsafe_simulation=False)
    levels = [DataPolicy.decode(sign_policy(party, NOBODY).payload).minimal_trust_level for party in (owner, careful)]
    assert levels == ["simulation", "sgx"]


def test_nobody_elses_policy_is_continued(owner: Party, tmp_path: Path) -> None:
    other = Party.create(tmp_path / "other", "other", unsafe_simulation=True)
    with pytest.raises(AuthenticityError):
        sign_policy(owner, NOBODY, sign_policy(other, NOBODY))
