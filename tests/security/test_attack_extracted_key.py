"""Promise: one machine's extracted PCK forges no role once the release keys have revoked that machine.

The attacker holds that key, so it quotes whatever it likes: here the whole enclave runs on that machine, with every
measurement and binding right. It runs the host, too, and keeps from everybody what it can. What the key broker makes of
launches and handovers: tests/unit/services/attestation/test_platform_inventory.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client import inventory, recovery
from client.broker import BrokerLink
from client.context import Party as OwnParty
from client.pinning import pin
from client.query_session import QuerySession, QueryUser
from client.query_verification import verify_query_enclave
from client.services import AttestationService
from client.verification import verify_evidence
from common.broker_verification import broker_binding, verify_broker
from common.dcap import NO_PLATFORM_RULES, PlatformRules
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import AppraisalError, AuthenticityError, FreshnessError, Refusal
from common.identifiers import PlatformId
from common.messages.broker_exchange import BrokerReply
from common.messages.broker_identity import BrokerDescription
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.platform_inventory import InventoryTaken, PlatformInventory, TakeInventory
from common.messages.release import Release
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.context import BrokerContext
from tests.fakes.broker_world import BrokerWorld, MemoryStore
from tests.fakes.handover_world import Heir
from tests.fakes.log_keeping import identity_directory
from tests.fakes.machines import another_machine, inventory_of, names_of
from tests.fakes.operator import Operator, operating
from tests.fakes.query_world import QueryWorld
from tests.fakes.recovery_world import RecoveryWorld
from tests.fakes.watched_broker import Watched
from tests.unit.services.attestation.test_key_broker import describe_request

ELSEWHERE = PlatformId("ab" * 16)
REVOKED, OLDER = r"appraisal\.platform_revoked", r"freshness\.inventory"


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """Its broker runs on the machine whose key the attacker has."""
    made = BrokerWorld(tmp_path / "world", release_signers=2)
    made.machines["broker"] = another_machine(made.platform)
    made.restart(MemoryStore())
    return made


@pytest.fixture
def operator(world: BrokerWorld) -> Iterator[Operator]:
    with operating(Operator(world, world.platform.collateral())) as serving:
        yield serving


@pytest.fixture
def owner(world: BrokerWorld, operator: Operator, tmp_path: Path) -> OwnParty:
    """Who has pinned that broker."""
    return identity_directory(world, world.owner, tmp_path / "owner", operator.endpoints)


def stolen(world: BrokerWorld) -> SimulatedPlatform:
    return world.machines["broker"]


def signed(world: BrokerWorld, number: int, *revoked: PlatformId) -> Signed:
    return inventory_of(number, *world.release_keys, revoked=revoked)


def bring(world: BrokerWorld, document: Signed) -> None:
    world.channel().ask(TakeInventory(inventory=document), InventoryTaken)


def hand(party: OwnParty, document: Signed) -> None:
    """The signers give their document to a party, past every host."""
    file = party.directory.with_name(f"given-{document.digest[:8]}.json")
    file.write_bytes(document.encode())
    list(inventory.keep_inventory(party, file))


# -- a forged broker, to its parties -----------------------------------------------------------------------------------


def test_a_broker_that_shows_what_revokes_it_is_refused_and_the_party_remembers(
    world: BrokerWorld, owner: OwnParty
) -> None:
    """Also where the host takes the inventory back at once: what was seen in a refused reply counts."""
    earlier = world.store.copy()
    assert BrokerLink(owner).verify()
    bring(world, signed(world, 1, *names_of(stolen(world))))
    with pytest.raises(AppraisalError, match=REVOKED):
        BrokerLink(owner).verify()
    world.restart(earlier)
    for _ in range(2):
        with pytest.raises(FreshnessError, match=OLDER):
            BrokerLink(OwnParty(owner.directory)).verify()


@pytest.mark.parametrize("shown", [0, 1])
def test_a_host_that_hides_the_inventory_hides_it_from_nobody_who_was_given_it(
    world: BrokerWorld, owner: OwnParty, shown: int
) -> None:
    """The forged broker shows none, or an older one."""
    for number in range(1, shown + 1):
        bring(world, signed(world, number, ELSEWHERE))
    assert BrokerLink(owner).verify()
    hand(owner, signed(world, 2, ELSEWHERE, *names_of(stolen(world))))
    with pytest.raises(FreshnessError, match=OLDER):
        BrokerLink(owner).verify()


def test_a_forged_broker_may_as_well_show_the_newest_one(world: BrokerWorld, owner: OwnParty) -> None:
    newest = signed(world, 2, names_of(stolen(world))[0])
    hand(owner, newest)
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "inventory_document", newest)
        with pytest.raises(AppraisalError, match=REVOKED):
            BrokerLink(owner).verify()
    assert BrokerLink(owner).verify_to_end().type == "noted"


def test_what_too_few_have_signed_moves_nobody(world: BrokerWorld, owner: OwnParty) -> None:
    """Neither does it shut a broker out, nor does it take the place of the one that is known."""
    for keys in (world.release_keys[:1], [world.owner.key, world.release_keys[0]]):
        with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
            hand(owner, inventory_of(9, *keys, revoked=names_of(stolen(world))))
    assert owner.inventory is None
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "inventory_document", inventory_of(9, world.release_keys[0]))
        with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
            BrokerLink(owner).verify()
    assert owner.inventory is None
    assert BrokerLink(owner).verify()


def test_nobody_revives_a_machine_for_a_party(world: BrokerWorld, owner: OwnParty) -> None:
    hand(owner, signed(world, 1, *names_of(stolen(world))))
    with pytest.raises(FreshnessError, match=OLDER):
        hand(owner, signed(world, 2, ELSEWHERE))
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "inventory_document", signed(world, 2, ELSEWHERE))
        with pytest.raises(FreshnessError, match=OLDER):
            BrokerLink(owner).verify()


def test_nobody_pins_a_broker_on_it(world: BrokerWorld, operator: Operator, owner: OwnParty) -> None:
    """Who has seen the inventory is not to be led to a new broker; who has not is told by a broker that has."""
    with pytest.MonkeyPatch.context() as served:
        served.setattr(AttestationService, "release", lambda _: world.release)
        newcomer = OwnParty.create(owner.directory.with_name("newcomer"), "newcomer", unsafe_simulation=True)
        hand(owner, signed(world, 1, *names_of(stolen(world))))
        with pytest.raises(FreshnessError, match=OLDER):
            list(pin(owner, operator.endpoints, world.trust))
        assert list(pin(newcomer, operator.endpoints, world.trust))
        bring(world, signed(world, 1, *names_of(stolen(world))))
        for party in (owner, newcomer):
            with pytest.raises(AppraisalError, match=REVOKED):
                list(pin(party, operator.endpoints, world.trust))


def test_a_party_that_denies_the_machine_needs_no_inventory(world: BrokerWorld, owner: OwnParty) -> None:
    for terms in (
        TcbTerms(denied_platforms=names_of(stolen(world))[:1]),
        TcbTerms(platforms=names_of(world.platform)),
        TcbTerms(inventory=True),
    ):
        owner.keep_tcb_terms(terms)
        with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
            BrokerLink(owner).verify()
    bring(world, inventory_of(1, *world.release_keys, known=names_of(stolen(world))))
    assert BrokerLink(owner).verify()


def test_a_stored_quote_of_it_is_none(world: BrokerWorld, owner: OwnParty) -> None:
    file = owner.directory / "quote.json"
    file.write_bytes(world.runtime("broker").evidence(bytes(64)).encode())
    assert list(verify_evidence(owner, file, "broker"))
    hand(owner, signed(world, 1, *names_of(stolen(world))))
    with pytest.raises(AppraisalError, match=REVOKED):
        list(verify_evidence(owner, file, "broker"))


# -- a forged broker, as the giver of a state --------------------------------------------------------------------------


def heir_of_a_forged_giver(world: BrokerWorld) -> Heir:
    """A genuine heir on a good machine took the state of a giver that never saw the inventory: it cannot know."""
    heir = Heir.of(world)
    heir.runtime = replace(heir.runtime, platform=world.platform)
    heir.succeed()
    world.release = heir.release
    return heir


def test_an_heir_of_it_is_refused_by_whoever_knows(world: BrokerWorld, owner: OwnParty) -> None:
    over = names_of(stolen(world))
    heir_of_a_forged_giver(world)
    owner.pin(owner.trust.model_copy(update={"release": world.release}))
    assert BrokerLink(owner).verify()
    newest = signed(world, 1, *over)
    hand(owner, newest)
    with pytest.MonkeyPatch.context() as shown:
        shown.setattr(BrokerContext, "inventory_document", newest)
        with pytest.raises(AppraisalError, match=REVOKED):
            BrokerLink(owner).verify()


def test_an_heir_of_it_is_refused_by_whoever_denies_the_machine(world: BrokerWorld, owner: OwnParty) -> None:
    """Of one's own accord, or as the release does: no inventory says anything of it yet."""
    over = TcbTerms(denied_platforms=names_of(stolen(world))[:1])
    heir_of_a_forged_giver(world)
    owner.pin(owner.trust.model_copy(update={"release": world.release}))
    assert BrokerLink(owner).verify()
    owner.keep_tcb_terms(over)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        BrokerLink(owner).verify()


def test_it_cannot_deny_where_it_comes_from(world: BrokerWorld) -> None:
    """The forger knows the signing key, and signs what it likes around the heir's genuine quote."""
    heir_of_a_forged_giver(world)
    request, release = describe_request(), Release.decode(world.release.payload)
    reply = BrokerReply.decode(Signed.decode(world.handle(request)).payload)
    assert isinstance(reply.body, BrokerDescription)
    assert reply.body.succession is not None
    honest = reply.body.succession
    for succession in (honest.model_copy(update={"machines": ()}), honest.model_copy(update={"handovers": 2})):
        told = reply.model_copy(update={"body": reply.body.model_copy(update={"succession": succession})})
        raw = sign(told, world.context.signing_key).encode()
        with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
            verify_broker(raw, request, world.trust, release, NO_PLATFORM_RULES, world.time)
    plain = broker_binding(world.genesis, reply.nonce, reply.head.epoch)
    assert plain.subject != broker_binding(world.genesis, reply.nonce, reply.head.epoch, honest).subject


# -- a forged broker, to holders and witnesses -------------------------------------------------------------------------


def test_a_holder_gives_no_share_to_it(tmp_path: Path) -> None:
    lost = RecoveryWorld(tmp_path)
    new = lost.new_machine(thawed=False)
    new.machines["broker"] = another_machine(new.platform)
    new.restart(MemoryStore())
    lost.witness_of(new, "witness-new.json").round()
    document = lost.package()
    with operating(Operator(new, new.platform.collateral())) as operator:
        holder = identity_directory(lost.old, lost.holders[0], tmp_path / "holder", operator.endpoints)
        newest = signed(new, 1, *names_of(stolen(new)))
        hand(holder, newest)
        share = holder.directory / "share.json"
        with pytest.raises(FreshnessError, match=OLDER):
            list(recovery.give_share(holder, document, share))
        with new.attended(lost.witness_identity.signing_key):
            bring(new, newest)
        with pytest.raises(AppraisalError, match=REVOKED):
            list(recovery.give_share(holder, document, share))
        assert not share.exists()


def test_nor_does_a_broker_on_it_take_any(tmp_path: Path) -> None:
    lost = RecoveryWorld(tmp_path)
    new = lost.new_machine()
    request = lost.request(new)
    with new.attended(lost.witness_identity.signing_key):
        bring(new, signed(new, 1, *names_of(new.platform)))
    with pytest.raises(AppraisalError, match=REVOKED):
        lost.recover(new, request)


def test_a_witness_confirms_nothing_of_it_and_remembers_as_another_process(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    world = watched.world
    watched.witness.round()
    with world.attended(watched.identity.signing_key):
        bring(world, signed(world, 1, *names_of(world.platform)))
    confirmed, earlier = watched.remembered, world.store.copy()
    for witness in (watched.witness, watched.again()):
        with pytest.raises(AppraisalError, match=REVOKED):
            witness.round()
        assert not witness.broker_is_thawed
        assert watched.remembered == confirmed
    with pytest.MonkeyPatch.context() as hidden:
        hidden.setattr(BrokerContext, "inventory_document", None)
        with pytest.raises(FreshnessError, match=OLDER):
            watched.again().round()
    world.restart(earlier)
    with pytest.raises(Refusal):
        watched.again().round()
    with pytest.raises(Refusal, match=r"unavailable\.frozen"):
        world.register_data()


def test_a_witness_takes_the_newest_that_it_is_shown_and_no_older_one(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    world = watched.world
    watched.witness.round()
    for number in (1, 2):
        with world.attended(watched.identity.signing_key):
            bring(world, signed(world, number, ELSEWHERE))
        watched.witness.round()
        assert watched.witness.broker_is_thawed
    with pytest.MonkeyPatch.context() as older:
        older.setattr(BrokerContext, "inventory_document", signed(world, 1, ELSEWHERE))
        with pytest.raises(FreshnessError, match=OLDER):
            watched.again().round()
    watched.again().round()


def test_a_broker_on_it_is_no_witness_for_another(tmp_path: Path) -> None:
    """Whoever has the machine's key may have its signing key, too: it says no more."""
    watched = Watched(tmp_path)
    world = watched.world
    watched.witness.round()
    request = describe_request()
    asked = WitnessPeer(description=Signed.decode(world.handle(request)))
    with world.attended(watched.identity.signing_key):
        bring(world, signed(world, 1, *names_of(world.platform)))
    with pytest.raises(AppraisalError, match=REVOKED):
        world.channel().ask(asked, PeerWitnessed)


# -- a forged query enclave --------------------------------------------------------------------------------------------


def test_a_user_seals_nothing_to_a_query_enclave_on_it(tmp_path: Path) -> None:
    world = QueryWorld(tmp_path)
    good, world.platform = world.platform, another_machine(world.platform)
    launch = world.launch()
    over, known = names_of(world.platform), names_of(good)
    revoked = PlatformInventory(number=1, platforms=known, revoked=over[:1], created=1)
    nothing = NO_PLATFORM_RULES.inventory
    for rules, code in (
        (PlatformRules(revoked), REVOKED),
        (PlatformRules(nothing, (TcbTerms(denied_platforms=over[1:]),)), r"appraisal\.platform:"),
        (PlatformRules(nothing, (TcbTerms(), TcbTerms(platforms=known))), r"appraisal\.platform:"),
        (PlatformRules(nothing_revoked(revoked), (TcbTerms(inventory=True),)), r"appraisal\.platform:"),
    ):
        pins = replace(world.pins, rules=rules)
        with pytest.raises(AppraisalError, match=code):
            QuerySession.open(launch, QueryUser(world.user, world.grant(), pins), pause=lambda _: None)
    assert launch.sent == []
    world.platform = good
    again = world.launch()
    assert world.session(again).quotes_verified == 1
    pins = replace(world.pins, rules=PlatformRules(revoked, (TcbTerms(inventory=True),)))
    grant = QueryUser(world.user, world.grant(), pins).terms
    assert verify_query_enclave(again.proof, grant, pins, world.now()).trust_level == "simulation"


def nothing_revoked(inventory: PlatformInventory) -> PlatformInventory:
    """The same, with nothing revoked."""
    return inventory.model_copy(update={"revoked": ()})
