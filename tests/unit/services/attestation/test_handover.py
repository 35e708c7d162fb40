"""A broker hands over to a later build: what goes along, what stays, and who the broker is afterwards."""

import secrets
from typing import Any

import pytest

from common.broker_verification import verify_broker
from common.dcap import NO_PLATFORM_RULES
from common.errors import AppraisalError, AuthenticityError, ConflictError, FormatError, PolicyError
from common.identifiers import Fmspc, JobId
from common.key_retrieval import renew_lease
from common.messages.broker_exchange import BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.decision_log import LogEntry
from common.messages.evidence import DcapQuote
from common.messages.registration import Registered
from common.messages.release import Release
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbTerms
from tests.fakes.broker_world import (
    MEASUREMENTS,
    QUERY,
    TRAINER,
    BareRuntime,
    BrokerWorld,
    MemoryStore,
    SealedBundle,
    SealedData,
)
from tests.fakes.handover_world import HEIR, Heir
from tests.fakes.identities import Recoverable, bind, held_by, replaced


@pytest.fixture
def heir(world: BrokerWorld) -> Heir:
    return Heir.of(world)


def accepting(heir: Heir) -> tuple[SealedData, SealedBundle]:
    """A data set and a bundle whose terms name both releases."""
    both = (heir.world.release.digest, heir.release.digest)
    return heir.world.register_data(releases=both), heir.world.register_bundle(releases=both)


def verified(world: BrokerWorld, release: Signed) -> bytes:
    """The broker's key as a party that pinned this release verifies it."""
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
    named = Release.decode(release.payload)
    return verify_broker(
        world.handle(request), request, world.trust, named, NO_PLATFORM_RULES, world.time
    ).wrapping_public


def test_it_stays_the_same_broker_with_its_log_and_gets_a_new_wrapping_key(heir: Heir) -> None:
    world = heir.world
    genesis, before, entries = world.genesis, world.head, list(world.store.entries)
    old_key = world.wrapping_public
    heir.succeed()
    assert world.genesis == genesis
    assert world.store.entries[: len(entries)] == entries
    assert (world.head.size, world.head.epoch) == (before.size + 2, before.epoch + 1)
    handover = LogEntry.decode(world.store.entries[-2])
    assert (handover.decision, handover.outcome) == ("handover", "released")
    assert (handover.subjects.measurement, handover.subjects.heir) == (MEASUREMENTS["broker"], HEIR)
    assert handover.subjects.release == heir.release.digest
    assert verified(world, heir.release) == world.wrapping_public != old_key
    succession = world.describe().succession
    assert succession is not None
    assert (succession.predecessor, succession.release) == (MEASUREMENTS["broker"], heir.release.digest)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):  # a party that pinned the old release
        verified(world, world.release)


def test_keys_jobs_models_and_budgets_go_along_where_all_terms_accept(heir: Heir) -> None:
    world = heir.world
    data, bundle = accepting(heir)
    made: JobId = world.start_job(data, bundle)
    model = world.finish(made)
    grant = world.grant(model, answers=100)
    assert world.draw(world.launch(QUERY, made), grant, 64).remaining == 36
    job = world.start_job(data, bundle)
    first = world.launch(TRAINER, job)
    heir.succeed()
    world.restart()  # the heir's own sealed state opens to it
    again = world.launch(TRAINER, job)
    assert again.terms.attempt == first.terms.attempt + 1
    assert again.keys[f"data/{data.dataset_id}"] == data.key
    assert world.draw(world.launch(QUERY, made), grant, 64).remaining == 0
    order = sign(world.order(data, bundle, release=heir.release.digest), world.owner.key)
    assert world.accept(order, release=heir.release).trainers == 2


def test_what_ended_stays_ended_and_what_was_used_stays_used(heir: Heir) -> None:
    world = heir.world
    data, bundle = accepting(heir)
    order = sign(world.order(data, bundle), world.owner.key)
    job = world.accept(order).job_id
    world.revoke(data.owner, "dataset", data.dataset_id)
    heir.succeed()
    assert world.accept(order).job_id == job  # known, not new
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        world.channel().ask(world.dataset_registration(data), Registered)


def test_nothing_is_handed_over_while_somebodys_terms_do_not_accept(heir: Heir) -> None:
    world = heir.world
    data, _ = accepting(heir)
    other = world.register_data()
    size = world.store.entry_count
    with pytest.raises(ConflictError, match=r"conflict\.handover_terms"):
        heir.give()
    assert world.store.entry_count == size
    assert world.register_data(), "the old broker goes on"
    terms = world.policy_terms(
        other.owner, policy_version=2, previous=other.policy.digest, releases=(heir.release.digest,)
    )
    world.channel().ask(world.policy_update(other, sign(terms, other.owner.key)), Registered)
    with pytest.raises(ConflictError, match=r"conflict\.handover_terms"):
        heir.give()  # the data set that was registered last
    assert data.dataset_id != other.dataset_id


NOT_NAMED, REVOKED, OTHER_CODE, OTHER_MACHINE = "not named", "revoked", "other code", "other machine"


@pytest.mark.parametrize("why", [NOT_NAMED, REVOKED, OTHER_CODE, OTHER_MACHINE])
def test_a_key_stays_behind_where_terms_do_not_accept_and_its_owner_brings_it_again(heir: Heir, why: str) -> None:
    world, named = heir.world, (heir.world.release.digest, heir.release.digest)
    terms: dict[str, Any] = {
        NOT_NAMED: {"releases": (world.release.digest,)},
        REVOKED: {"releases": named, "revoked_releases": (heir.release.digest,)},
        OTHER_CODE: {"releases": named, "measurements": (MEASUREMENTS["broker"],)},
        OTHER_MACHINE: {"releases": named, "tcb": TcbTerms(denied_fmspcs=(Fmspc("c0ffee000000"),))},
    }
    data, bundle = world.register_data(**terms[why]), world.register_bundle(releases=named)
    registration = world.dataset_registration(data)
    job = world.start_job(data, bundle)
    heir.succeed(leave_behind=True)
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):  # it was cancelled
        world.launch(TRAINER, job)
    with pytest.raises(PolicyError, match=r"policy\.handover"):
        world.start_job(data, bundle)
    with pytest.raises(AuthenticityError, match=r"authenticity\.wrapped_key"):
        world.channel().ask(registration, Registered)  # what the host has kept opens only in the old enclave
    world.channel(data.owner).ask(world.dataset_registration(data), Registered)
    ring = world.context.keys_of(world.context.dataset(data.dataset_id))
    assert ring["data"] == data.key


def test_enclaves_that_run_with_a_key_that_stayed_get_no_lease_and_no_answers(heir: Heir) -> None:
    world = heir.world
    data, bundle = world.register_data(), world.register_bundle()
    made = world.start_job(data, bundle)
    grant = world.grant(world.finish(made))
    serving, training = world.launch(QUERY, made), world.launch(TRAINER, world.start_job(data, bundle))
    heir.succeed(leave_behind=True)
    with pytest.raises(PolicyError, match=r"policy\.handover"):
        world.draw(serving, grant)
    with pytest.raises(PolicyError, match=r"policy\.handover"):
        renew_lease(world.runtime("query"), world.channel(), serving)
    with pytest.raises(PolicyError, match=r"policy\.handover"):
        renew_lease(world.runtime("trainer"), world.channel(), training)


def test_a_revoked_key_that_stayed_behind_is_not_brought_again(heir: Heir) -> None:
    world = heir.world
    data = world.register_data()
    heir.succeed(leave_behind=True)
    again = world.dataset_registration(data)
    world.revoke(data.owner, "dataset", data.dataset_id)
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        world.channel().ask(again, Registered)


def test_a_policy_version_is_not_undone_by_bringing_the_key_again(heir: Heir) -> None:
    world = heir.world
    data = world.register_data()
    terms = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest, max_jobs=1)
    newest = sign(terms, data.owner.key)
    world.channel().ask(world.policy_update(data, newest), Registered)
    heir.succeed(leave_behind=True)
    world.channel().ask(world.dataset_registration(data), Registered)
    assert world.context.dataset(data.dataset_id).policy_document.digest == newest.digest


def test_identities_that_are_over_stay_over_and_recovery_keys_stay_nobodys(heir: Heir) -> None:
    world, owner = heir.world, Recoverable()
    bind(world, owner)
    both = (world.release.digest, heir.release.digest)
    data, bundle = world.register_data(owner, releases=both), world.register_bundle(releases=both)
    stays = world.register_data(owner)
    successor = replaced(world, owner)
    heir.succeed(leave_behind=True)
    world.release = heir.release
    for ask in (
        lambda: world.accept(sign(world.order(data, bundle), owner.key)),
        lambda: world.channel().ask(world.dataset_registration(stays), Registered),
        lambda: bind(world, owner),
    ):
        with pytest.raises(PolicyError, match=r"policy\.identity"):
            ask()
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        bind(world, Recoverable(), recovery=successor.party)
    world.accept(sign(world.order(held_by(data, successor), bundle), successor.key))


def test_bringing_the_key_again_leaves_the_history_of_the_policy_as_it_is(heir: Heir) -> None:
    """By it a thief's version falls back to the one before, which was taken before the handover."""
    world, owner = heir.world, Recoverable()
    bind(world, owner)
    data = world.register_data(owner)

    def update(version: int, previous: Signed) -> Signed:
        terms = world.policy_terms(owner, policy_version=version, previous=previous.digest, max_jobs=version)
        newest = sign(terms, owner.key)
        world.channel().ask(world.policy_update(data, newest), Registered)
        return newest

    second = update(2, data.policy)
    heir.succeed(leave_behind=True)
    stolen = world.head.size
    world.channel().ask(world.dataset_registration(data), Registered)
    update(3, second)
    replaced(world, owner, void_from=stolen)
    record = world.context.dataset(data.dataset_id)
    assert (record.policy_document, record.keys is None) == (second, False)


def test_the_host_brings_collateral_for_quotes_that_carry_none(heir: Heir) -> None:
    """As hardware makes them; without it both sides refuse."""
    world, collateral = heir.world, heir.world.platform.collateral()
    heir.runtime = BareRuntime(world.platform, HEIR, world.trust)
    with pytest.raises(FormatError, match=r"format\.collateral"):
        heir.give()
    given = heir.give(collateral=collateral)
    given = given.model_copy(update={"evidence": DcapQuote(quote=given.evidence.quote)})
    with pytest.raises(FormatError, match=r"format\.collateral"):
        heir.take(given, MemoryStore())
    assert heir.take(given, collateral=collateral).genesis == world.genesis


def test_it_may_be_handed_on_and_back(heir: Heir) -> None:
    """A build that turns out bad gives way to the one before, by the same rules."""
    world = heir.world
    data = world.register_data(releases=(world.release.digest, heir.release.digest))
    heir.succeed()
    back = Heir(world, world.release, world.runtime("broker"))
    context = back.take(back.give(), release=heir.release)
    back.adopt(context)
    assert verified(world, world.release) == world.wrapping_public
    succession = world.describe().succession
    assert succession is not None
    assert (succession.handovers, succession.predecessor) == (2, HEIR)
    assert context.keys_of(context.dataset(data.dataset_id))["data"] == data.key
    assert world.register_data(), "it releases again: it is the heir, and no longer who handed over"
