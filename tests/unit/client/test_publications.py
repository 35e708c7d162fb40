"""A provider's versions are what the broker's log says of them, under the names that this directory knows."""

from pathlib import Path

import pytest

from client.broker import BrokerLink
from client.context import BundleLabel, Party
from client.ending_proof import verify_ending
from client.events import LogVerified, VersionListed
from client.publications import versions
from client.revoking import logged_entry, retire
from common.errors import AuthenticityError, PolicyError
from common.messages.signed import sign
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.log_keeping import Keeper, identity_directory
from tests.unit.client.test_revoking import Host, without_entries


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path / "world")


@pytest.fixture
def party(world: BrokerWorld, tmp_path: Path) -> Party:
    return identity_directory(world, world.provider, tmp_path / "provider")


def test_versions_with_their_jobs_and_states(world: BrokerWorld, party: Party) -> None:
    data, bundles = world.register_data(), [world.register_bundle() for _ in range(3)]
    world.finish(world.start_job(data, bundles[0]))
    world.start_job(data, bundles[0])
    world.start_job(data, bundles[1])
    root = bundles[0].root
    party.keep_label(BundleLabel(bundle_id=bundles[0].bundle_id, root=root, name="digits-cnn", bundle_version="1.0"))
    world.retire(world.provider, bundles[0].bundle_id)
    with pytest.raises(PolicyError, match="policy.retired"):
        world.accept(sign(world.order(data, bundles[0]), world.owner.key))
    world.revoke(world.provider, "bundle", bundles[1].bundle_id)

    verified, *listed = versions(party, Keeper(world, party).keep("log"))
    assert isinstance(verified, LogVerified)
    told = [one for one in listed if isinstance(one, VersionListed)]
    assert [(one.bundle_id, one.name, one.jobs, one.finished, one.state) for one in told] == [
        (bundles[0].bundle_id, "digits-cnn", 2, 1, "retired"),
        (bundles[1].bundle_id, None, 1, 1, "revoked"),
        (bundles[2].bundle_id, None, 0, 0, "in force"),
    ]
    assert (told[0].bundle_version, told[0].root, told[1].root) == ("1.0", root, None)


def test_a_retirement_is_proven_by_its_entry(world: BrokerWorld, party: Party) -> None:
    bundle = world.register_bundle()
    ending = retire(party, BrokerLink(party, world.handle), bundle.bundle_id)
    world.register_bundle()
    host = Host(world)
    host._reader = world.provider.party
    proof = ending.proof(host)
    assert proof.inclusion.number == ending.head.size - 1
    proven = verify_ending(proof, world.genesis.signing_public)
    assert (proven.identifier, proven.decided, proven.leases_end) == (bundle.bundle_id, "retire-bundle", None)
    again = retire(party, BrokerLink(party, world.handle), bundle.bundle_id).proof(host)
    assert verify_ending(again, world.genesis.signing_public) == proven, "the first retirement counts"
    with pytest.raises(AuthenticityError, match=r"authenticity\.log"):
        logged_entry(host, ending.document, 0, ending.head, "revoke")
    hiding = Host(world, without_entries)
    with pytest.raises(AuthenticityError, match=r"authenticity\.log"):
        logged_entry(hiding, ending.document, 0, ending.head, "retire-bundle")
