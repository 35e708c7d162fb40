"""A recovery key, named at an identity's first appearance, ends that identity; its things go on under the next one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.crypto.recovery_key import RecoveryKey
from common.errors import (
    AuthenticityError,
    ConflictError,
    FormatError,
    FreshnessError,
    NotFoundError,
    PolicyError,
    Refusal,
    UnavailableError,
)
from common.identifiers import GrantId, JobId
from common.key_retrieval import renew_lease
from common.messages.decision_log import LogEntry
from common.messages.jobs import ListMembers, Members
from common.messages.policy import DataPolicy, QueryGrant
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld, Party, SealedBundle, SealedData
from tests.fakes.identities import (
    Recoverable,
    bind,
    held_by,
    recover,
    recovered,
    replaced,
    replacement,
    revocation,
    statement,
)


@pytest.fixture
def owner(world: BrokerWorld) -> Recoverable:
    party = Recoverable()
    bind(world, party)
    world.owner = party
    return party


@pytest.fixture
def data(world: BrokerWorld, owner: Recoverable) -> SealedData:
    return world.register_data(owner)


@pytest.fixture
def bundle(world: BrokerWorld) -> SealedBundle:
    return world.register_bundle()


def state(world: BrokerWorld, job_id: JobId) -> str:
    return world.channel().ask(ListMembers(job_id=job_id), Members).state


def newest(world: BrokerWorld) -> LogEntry:
    return LogEntry.decode(world.store.entries[-1])


def next_version(world: BrokerWorld, data: SealedData, signer: Party, **changes: Any) -> Signed:
    before = world.context.dataset(data.dataset_id).policy_document
    version = DataPolicy.decode(before.payload).policy_version + 1
    fields = {"owner": data.owner.party, "policy_version": version, "previous": before.digest} | changes
    return sign(world.policy_terms(signer, **fields), signer.key)


def update(world: BrokerWorld, data: SealedData, policy: Signed, party: Party | None = None) -> None:
    world.channel(party).ask(world.policy_update(data, policy), Registered)


# -- who is known with which recovery key ----------------------------------------------------------------------------


def test_the_first_card_counts_for_good(world: BrokerWorld, owner: Recoverable) -> None:
    size = world.head.size
    assert bind(world, owner).recovery == owner.recovery.public
    assert world.head.size == size
    for changes in ({"recovery": None}, {"created": 2}):
        with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
            bind(world, owner, **changes)
    thief = Recoverable(owner.identity)
    assert (thief.party, thief.recovery.public) != (owner.party, owner.recovery.public)
    with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
        bind(world, thief)
    world.restart()
    with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
        bind(world, owner, recovery=None)


def test_an_identity_that_came_without_a_card_gets_none_later(world: BrokerWorld) -> None:
    """Else a thief could add a recovery key of his own."""
    party, provider = Recoverable(), Recoverable()
    world.register_data(party)
    world.register_bundle(provider)
    for one in (party, provider):
        with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
            bind(world, one)
        with pytest.raises(NotFoundError, match=r"not_found\.recovery_key"):
            recover(world, revocation(world, one))


def test_a_card_is_its_own_partys(world: BrokerWorld) -> None:
    party, other = Recoverable(), Recoverable()
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        bind(world, party, party=other.party)
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        bind(world, party, recovery=other.party)  # would end the voice of an identity that comes later
    bind(world, other)
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        bind(world, party, recovery=other.recovery.public)
    assert world.register_data(other)


def test_an_identity_is_nobodys_recovery_key_even_if_it_agrees(world: BrokerWorld) -> None:
    party, other = Recoverable(), Recoverable()
    bind(world, other)
    object.__setattr__(party, "recovery", RecoveryKey(party.party, other.key))
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        bind(world, party)
    assert world.register_data(other)


# -- revoked ---------------------------------------------------------------------------------------------------------


def test_a_revoked_identity_signs_nothing_and_its_things_stand_still(
    world: BrokerWorld, owner: Recoverable, data: SealedData, bundle: SealedBundle
) -> None:
    finished, running = world.start_job(data, bundle), world.start_job(data, bundle)
    grant = world.grant(world.finish(finished))
    enclave, trainer = world.launch(QUERY, finished), world.launch(TRAINER, running)
    answer = recover(world, revocation(world, owner))
    assert (answer.identifier, answer.leases_end) == (owner.party, world.time + 180)
    world.restart()
    forbidden: dict[str, Callable[[], Any]] = {
        "a policy": lambda: update(world, data, next_version(world, data, owner)),
        "an order": lambda: world.accept(sign(world.order(data, bundle), owner.key)),
        "answers": lambda: world.draw(enclave, grant),
        "a placement": lambda: world.launch(QUERY, finished),
        "keys": lambda: world.launch(TRAINER, running, 1),
        "a lease": lambda: renew_lease(world.runtime("trainer"), world.channel(), trainer),
        "a revocation": lambda: world.revoke(owner, "job", running),
        "a data set": lambda: world.register_data(owner),
    }
    for name, ask in forbidden.items():
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.code == "policy.identity", name


def test_revoked_in_haste_and_replaced_at_leisure(
    world: BrokerWorld, owner: Recoverable, data: SealedData, bundle: SealedBundle
) -> None:
    running = world.start_job(data, bundle)
    recover(world, revocation(world, owner))
    successor = replaced(world, owner)
    world.launch(TRAINER, running)
    world.accept(sign(world.order(held_by(data, successor), bundle), successor.key))


# -- replaced --------------------------------------------------------------------------------------------------------


def test_the_successor_goes_on_and_the_old_key_does_not(
    world: BrokerWorld, owner: Recoverable, data: SealedData, bundle: SealedBundle
) -> None:
    finished, running = world.start_job(data, bundle), world.start_job(data, bundle)
    model = world.finish(finished)
    trainer = world.launch(TRAINER, running)
    successor = replaced(world, owner)
    world.restart()
    update(world, data, next_version(world, data, successor, max_jobs=7))
    assert renew_lease(world.runtime("trainer"), world.channel(), trainer) == 180
    world.accept(sign(world.order(held_by(data, successor), bundle), successor.key))
    enclave = world.launch(QUERY, finished)
    assert world.draw(enclave, world.grant(model, successor)).answers == 64
    for ask in (
        lambda: update(world, data, next_version(world, data, owner)),
        lambda: world.accept(sign(world.order(data, bundle), owner.key)),
        lambda: world.draw(enclave, world.grant(model, owner)),
        lambda: world.revoke(owner, "dataset", data.dataset_id),
    ):
        with pytest.raises(PolicyError, match=r"policy\.identity"):
            ask()
    assert world.context.dataset(data.dataset_id).policy.max_jobs == 7
    world.revoke(successor, "dataset", data.dataset_id)
    assert world.context.dataset(data.dataset_id).keys is None


def test_a_grant_that_either_key_has_ended_stays_ended(
    world: BrokerWorld, owner: Recoverable, data: SealedData, bundle: SealedBundle
) -> None:
    job_id = world.start_job(data, bundle)
    model = world.finish(job_id)
    early, late = world.grant(model, owner), world.grant(model, owner)
    world.revoke(owner, "grant", GrantId.of(early.digest))
    successor = replaced(world, owner)
    world.revoke(successor, "grant", GrantId.of(late.digest))
    enclave = world.launch(QUERY, job_id)
    for grant in (early, late):
        resigned = sign(QueryGrant.decode(grant.payload), successor.key)
        with pytest.raises(PolicyError, match=r"policy\.revoked"):
            world.draw(enclave, resigned)


def test_the_successor_is_told_what_was_tried_with_the_old_key(
    world: BrokerWorld, owner: Recoverable, data: SealedData, bundle: SealedBundle
) -> None:
    successor = replaced(world, owner)
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        world.accept(sign(world.order(data, bundle), owner.key))
    entry = newest(world)
    assert (entry.decision, entry.code) == ("accept-order", "policy.identity")
    assert successor.party in entry.subjects.parties
    assert owner.party not in entry.subjects.parties  # the thief holds that key


def test_a_refusal_under_the_thiefs_terms_is_told_to_the_successor(
    world: BrokerWorld, owner: Recoverable, data: SealedData
) -> None:
    thief = Party()
    update(world, data, next_version(world, data, owner, report_key=thief.report_key))
    successor = replaced(world, owner)
    stale = sign(world.policy_terms(successor, owner=owner.party, policy_version=9), successor.key)
    with pytest.raises(FreshnessError, match=r"freshness\.policy") as told:
        update(world, data, stale, successor)
    assert told.value.expected is not None
    assert told.value.expected.startswith("(3, ")


def test_a_second_replacement_follows_the_first(world: BrokerWorld, owner: Recoverable, data: SealedData) -> None:
    second = replaced(world, owner)
    third = replaced(world, second)
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        update(world, data, next_version(world, data, second))
    update(world, data, next_version(world, data, third))
    assert world.context.parties.names(owner.party) == {owner.party, second.party, third.party}


def test_whoever_names_a_party_means_who_holds_its_identity(world: BrokerWorld, owner: Recoverable) -> None:
    """A provider by an owner's policy, an owner by a provider's terms, a user by both, an approver."""
    provider, user, approver = Recoverable(), Recoverable(), Recoverable()
    for party in (provider, user, approver):
        bind(world, party)
    world.provider, world.user = provider, user
    data = world.register_data(owner, users=(user.party,), approvers=(approver.party,), approvals_needed=1)
    terms = {"owners": (owner.party,), "users": (user.party,)}
    new_owner, new_provider, new_user = (replaced(world, one) for one in (owner, provider, user))
    new_approver = replaced(world, approver)
    bundle = world.register_bundle(new_provider, **terms)
    job_id = world.accept(sign(world.order(held_by(data, new_owner), bundle), new_owner.key)).job_id
    model = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    assert world.draw(enclave, world.grant(model, new_owner, user=new_user.party)).answers == 64
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        world.draw(enclave, world.grant(model, new_owner, user=user.party))
    for key in (provider.party, new_provider.party):  # a provider does not become another user by a new key
        with pytest.raises(PolicyError, match=r"policy\.(identity|grant|user)"):
            world.draw(enclave, world.grant(model, new_owner, user=key))
    kept = {"users": (user.party,), "approvers": (approver.party,), "approvals_needed": 1}
    version = next_version(world, data, new_owner, **kept)
    old = sign(DataPolicy.decode(version.payload), new_owner.key, approver.key)
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        update(world, data, old)
    update(world, data, sign(DataPolicy.decode(version.payload), new_owner.key, new_approver.key))


def test_the_provider_asks_its_own_model_under_no_other_key(world: BrokerWorld, owner: Recoverable) -> None:
    provider = Recoverable()
    bind(world, provider)
    world.provider = provider
    data, bundle = world.register_data(owner), world.register_bundle(provider)
    job_id = world.start_job(data, bundle)
    model = world.finish(job_id)
    successor = replaced(world, provider)
    with pytest.raises(PolicyError, match=r"policy\.grant"):
        world.draw(world.launch(QUERY, job_id), world.grant(model, owner, user=successor.party))


# -- what the thief signed -------------------------------------------------------------------------------------------


def test_what_was_signed_since_the_theft_is_void(world: BrokerWorld, owner: Recoverable, bundle: SealedBundle) -> None:
    data, widened = world.register_data(owner), world.register_data(owner)
    update(world, widened, next_version(world, widened, owner, max_jobs=6))
    before = world.start_job(data, bundle)
    stolen = world.head.size
    update(world, widened, next_version(world, widened, owner, max_jobs=1000))
    update(world, widened, next_version(world, widened, owner, max_jobs=2000))
    planted, since = world.register_data(owner), world.start_job(data, bundle)
    world.launch(TRAINER, since)
    successor = replaced(world, owner, void_from=stolen)
    world.restart()
    assert world.context.dataset(widened.dataset_id).policy.max_jobs == 6
    assert world.context.dataset(planted.dataset_id).keys is None
    assert world.context.dataset(data.dataset_id).keys is not None
    assert (state(world, before), state(world, since)) == ("running", "cancelled")
    world.launch(TRAINER, before)
    update(world, widened, next_version(world, widened, successor, max_jobs=8))
    assert world.context.dataset(widened.dataset_id).policy.policy_version == 3


def test_a_bundle_that_the_thief_published_serves_nobody(world: BrokerWorld, owner: Recoverable) -> None:
    provider = Recoverable()
    bind(world, provider)
    world.provider = provider
    data, good = world.register_data(owner), world.register_bundle(provider)
    stolen = world.head.size
    planted = world.register_bundle(provider)
    kept, ended = world.start_job(data, good), world.start_job(data, planted)
    replaced(world, provider, void_from=stolen)
    assert (state(world, kept), state(world, ended)) == ("running", "cancelled")
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        world.start_job(data, planted)


def test_the_same_statement_again_voids_nothing_of_the_successors(world: BrokerWorld, owner: Recoverable) -> None:
    data = world.register_data(owner)
    stolen = world.head.size
    update(world, data, next_version(world, data, owner, max_jobs=1000))
    successor = Recoverable()
    signed = replacement(world, owner, successor, void_from=stolen)
    recover(world, signed)
    update(world, data, next_version(world, data, successor, max_jobs=7))
    size = world.head.size
    recover(world, signed)
    assert world.head.size == size
    assert world.context.dataset(data.dataset_id).policy.max_jobs == 7


# -- statements ------------------------------------------------------------------------------------------------------


def test_statements_of_others_or_for_others_are_refused(world: BrokerWorld, owner: Recoverable) -> None:
    successor, other = Recoverable(), Recoverable()
    bind(world, other)
    word = statement(world, owner, successor)
    wrong: list[tuple[Signed, type[Exception]]] = [
        (recovered(word, other.recovery, successor), AuthenticityError),
        (recovered(word, owner.recovery), AuthenticityError),  # the successor was not asked
        (sign(word, owner.key, successor.key), AuthenticityError),  # the identity's own key does not end it
        (sign(statement(world, owner), owner.key), AuthenticityError),
        (revocation(world, owner, broker=other.party), PolicyError),
        (revocation(world, Recoverable()), NotFoundError),
        (recovered(word.model_copy(update={"successor": other.card(created=2)}), owner.recovery, other), ConflictError),
        (recovered(word.model_copy(update={"successor": owner.card()}), owner.recovery, owner), FormatError),
    ]
    size = world.head.size
    for signed, kind in wrong:
        with pytest.raises(kind):
            recover(world, signed)
    assert world.head.size == size
    assert world.register_data(owner)


def test_a_statement_is_final_and_an_older_one_is_refused(world: BrokerWorld, owner: Recoverable) -> None:
    revoked, another = revocation(world, owner), replacement(world, owner, Recoverable())
    recover(world, revoked)
    replaced(world, owner)
    for old in (revoked, another, revocation(world, owner)):
        with pytest.raises(FreshnessError, match=r"freshness\.identity"):
            recover(world, old)


def test_nobody_is_replaced_by_an_identity_that_is_over(world: BrokerWorld, owner: Recoverable) -> None:
    over = Recoverable()
    bind(world, over)
    recover(world, revocation(world, over))
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        recover(world, replacement(world, owner, over))


def test_the_log_says_it(world: BrokerWorld, owner: Recoverable) -> None:
    entry = newest(world)
    assert (entry.decision, entry.outcome, entry.subjects.parties) == ("bind-identity", "recorded", (owner.party,))
    successor = Recoverable()
    signed = replacement(world, owner, successor)
    recover(world, signed)
    entry = newest(world)
    assert (entry.decision, entry.outcome, entry.subjects.document) == ("recover-identity", "revoked", signed.digest)
    assert entry.subjects.parties == (owner.party, successor.party)


def test_neither_leaves_before_the_witnesses_confirmed_it(tmp_path: Path) -> None:
    world, party = BrokerWorld(tmp_path, witnesses=1), Recoverable()
    world.confirm(world.witnesses[0])
    with world.attended(world.witnesses[0]):
        bind(world, party)
    for ask in (lambda: bind(world, Recoverable()), lambda: recover(world, revocation(world, party))):
        with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
            ask()
