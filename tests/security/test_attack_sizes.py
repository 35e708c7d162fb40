"""Attacks by size: what the host reads off the length of something sealed."""

from pathlib import Path

from client.context import Endpoints, Party, PinnedTrust
from client.policy_terms import NOBODY, PolicyTerms, sign_policy, wrap_policy
from common.crypto.digests import sha256
from common.identifiers import PartyKey
from common.key_binding import policy_info
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.signed import Signed, open_signed, sign
from tests.fakes.broker_world import BrokerWorld

SOMEBODY = tuple(PartyKey(sha256(b"party %d" % number)) for number in range(9))
DIGESTS = tuple(sha256(b"digest %d" % number) for number in range(9))


def pinned_party(directory: Path) -> tuple[BrokerWorld, Party]:
    world = BrokerWorld(directory)
    party = Party.create(directory / "party", "owner", unsafe_simulation=True)
    endpoints = Endpoints(attestation="http://a", ingest="http://i", query="http://q")
    party.pin(PinnedTrust(endpoints=endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis))
    return world, party


def test_a_policys_length_does_not_tell_whom_it_allows(tmp_path: Path) -> None:
    _, party = pinned_party(tmp_path)
    generous = PolicyTerms(providers=SOMEBODY, bundles=DIGESTS, releases=DIGESTS[:3], max_jobs=1_000, answers_total=9)
    sizes = {len(wrap_policy(party, sign_policy(party, terms))) for terms in (NOBODY, PolicyTerms(), generous)}
    assert len(sizes) == 1


def test_nor_do_a_providers_terms(tmp_path: Path) -> None:
    world, party = pinned_party(tmp_path)
    terms = BundleTerms.decode(world.seal_bundle().terms.payload)
    named = terms.model_copy(update={"owners": SOMEBODY, "users": SOMEBODY})
    sizes = {len(wrap_policy(party, sign(one, world.provider.key))) for one in (terms, named)}
    assert len(sizes) == 1


def test_the_broker_reads_what_was_padded(tmp_path: Path) -> None:
    world, party = pinned_party(tmp_path)
    policy, own = sign_policy(party, PolicyTerms(providers=SOMEBODY)), party.identity.signing_key.party
    plain = world.context.wrapping_key.open(
        wrap_policy(party, policy), policy_info(own, policy.digest, world.genesis.digest)
    )
    assert open_signed(Signed.decode(plain), DataPolicy, [own]).providers == SOMEBODY
