"""A party whose broker has handed over to another build: it follows only to a release that it pins, and wraps to the
key that this broker quotes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.broker import BrokerLink
from client.context import Party, PinnedTrust
from client.policy_terms import wrap_policy
from common.errors import AppraisalError, AuthenticityError, FreshnessError
from common.key_binding import policy_info
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.handover_world import Heir
from tests.fakes.operator import Operator, issued, operating


@pytest.fixture
def heir(tmp_path: Path) -> Heir:
    return Heir.of(BrokerWorld(tmp_path / "world"))


@pytest.fixture
def operator(heir: Heir) -> Iterator[Operator]:
    with operating(Operator(heir.world, issued(heir.world.platform.pki))) as serving:
        yield serving


@pytest.fixture
def party(operator: Operator, tmp_path: Path) -> Party:
    party = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    pin(party, operator, operator.world.release)
    BrokerLink(party).verify()
    return party


def pin(party: Party, operator: Operator, release: Signed) -> None:
    world = operator.world
    party.pin(
        PinnedTrust(endpoints=operator.endpoints, trust_settings=world.trust, release=release, broker=world.genesis)
    )


def test_it_follows_to_a_release_that_it_pins_and_to_no_other(heir: Heir, operator: Operator, party: Party) -> None:
    world, before = heir.world, party.broker_key
    heir.succeed()
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        BrokerLink(party).verify()
    assert party.broker_key == before == world.genesis.wrapping_public
    pin(party, operator, heir.release)
    BrokerLink(party).verify()
    assert party.broker_key == world.wrapping_public != before


def test_with_another_broker_the_key_is_forgotten(heir: Heir, operator: Operator, party: Party, tmp_path: Path) -> None:
    heir.succeed()
    pin(party, operator, heir.release)
    BrokerLink(party).verify()
    other = BrokerWorld(tmp_path / "other")
    trust = party.trust.model_copy(update={"broker": other.genesis})
    party.pin(trust)
    assert party.broker_key == other.genesis.wrapping_public


def test_what_it_wraps_opens_in_the_heir_alone(heir: Heir, operator: Operator, party: Party) -> None:
    world, old = heir.world, heir.world.context
    heir.succeed()
    pin(party, operator, heir.release)
    BrokerLink(party).verify()
    policy = sign(world.policy_terms(world.owner), world.owner.key)
    info = policy_info(world.owner.party, policy.digest, world.genesis.digest)
    wrapped = wrap_policy(party, policy)
    assert world.context.wrapping_key.open(wrapped, info).strip() == policy.encode()
    with pytest.raises(AuthenticityError):
        old.wrapping_key.open(wrapped, info)


def test_the_old_broker_is_older_than_what_it_has_seen(heir: Heir, operator: Operator, party: Party) -> None:
    world, old = heir.world, heir.world.core
    heir.succeed()
    pin(party, operator, heir.release)
    BrokerLink(party).verify()
    pin(party, operator, world.release)  # a host that shows the old build again, and its release
    world.core = old
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        BrokerLink(party).verify()
