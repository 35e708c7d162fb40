"""What the decision log says of a job's life, and what keeps refusals from flooding it."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.errors import Refusal, UnavailableError
from common.identifiers import DatasetId
from common.key_retrieval import renew_lease
from common.messages.admission import Admit, IssueChallenge
from common.messages.broker_exchange import BrokerRequest, RequestBody
from common.messages.decision_log import LogEntry, TreeHead
from common.messages.jobs import AcceptOrder
from common.messages.log_heads import HeadSigned, SignHead
from common.messages.policy import Revocation
from common.messages.revocation import Revoke
from common.messages.signed import Signed, sign
from common.transparency import open_tree_head
from services.attestation import refusal_log, state_anchor
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, Party


def entries(world: BrokerWorld) -> list[LogEntry]:
    return [LogEntry.decode(raw) for raw in world.store.entries]


def newest(world: BrokerWorld) -> LogEntry:
    return entries(world)[-1]


def tree_head(world: BrokerWorld) -> TreeHead:
    return open_tree_head(world.channel().ask(SignHead(), HeadSigned).head, world.genesis)


def refused(world: BrokerWorld, body: RequestBody) -> str:
    """The code of a refusal that is expected."""
    answer = world.reply(body).body
    assert answer.type == "refused"
    return answer.code


def bad_order(world: BrokerWorld, *signers: Party, **changes: Any) -> AcceptOrder:
    """An order for more trainers than the policy allows, each time another document."""
    data, bundle = world.register_data(), world.register_bundle()
    order = world.order(data, bundle, **({"trainers": 9} | changes))
    return AcceptOrder(order=sign(order, *(one.key for one in signers or (world.owner,))), release=world.release)


def test_a_jobs_life(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle()
    job_id = world.start_job(data, bundle)
    trainer = world.launch(TRAINER, job_id)
    model = world.finish(job_id)
    enclave, grant = world.launch(QUERY, job_id), world.grant(model)
    world.draw(enclave, grant, 5)
    world.revoke(world.owner, "job", job_id)
    told = entries(world)
    assert [one.number for one in told] == list(range(world.head.size))
    assert [(one.decision, one.outcome) for one in told] == [
        ("genesis", "recorded"),
        ("start", "recorded"),
        ("register-dataset", "recorded"),
        ("register-bundle", "recorded"),
        ("accept-order", "recorded"),
        ("admit-launch", "released"),
        ("admit-launch", "released"),
        ("complete-job", "recorded"),
        ("admit-launch", "released"),
        ("draw-budget", "released"),
        ("revoke", "revoked"),
    ]
    order, launch, draw, end = told[4].subjects, told[5].subjects, told[9].subjects, told[10].subjects
    assert (order.datasets, order.bundle, order.job) == ((data.dataset_id,), bundle.bundle_id, job_id)
    assert (order.policies, order.terms) == ((data.policy.digest,), bundle.terms.digest)
    assert (order.signers, order.release) == ((world.owner.party,), world.release.digest)
    assert set(order.parties) == {world.owner.party, world.provider.party}
    assert (launch.role, launch.slot, launch.attempt, launch.job) == (TRAINER, 0, 1, job_id)
    assert (launch.measurement, launch.launch) == (MEASUREMENTS["trainer"], trainer.signing_key.party)
    assert launch.evidence is not None
    assert told[7].subjects.document == model.digest
    assert (draw.answers, draw.document, draw.launch) == (5, grant.digest, enclave.signing_key.party)
    assert set(draw.parties) == {world.owner.party, world.provider.party, world.user.party}
    assert (end.job, end.signers) == (job_id, (world.owner.party,))


def test_evidence_is_the_digest_of_the_quote_that_was_shown(world: BrokerWorld) -> None:
    shown: list[bytes] = []

    def ask(raw: bytes) -> bytes:
        body = BrokerRequest.decode(raw).body
        if isinstance(body, Admit):
            shown.append(body.evidence.quote)
        return world.handle(raw)

    world.launch(TRAINER, world.start_job(), ask=ask)
    assert [newest(world).subjects.evidence] == [sha256(quote) for quote in shown]


def test_a_policy_that_changes_is_logged_with_its_digest(world: BrokerWorld) -> None:
    data = world.register_data()
    policy = world.policy_terms(world.owner, policy_version=2, previous=data.policy.digest, max_jobs=1)
    document = sign(policy, world.owner.key)
    world.reply(world.policy_update(data, document))
    assert (newest(world).decision, newest(world).subjects.policies) == ("update-policy", (document.digest,))
    assert refused(world, world.policy_update(data, sign(policy.model_copy(update={"max_jobs": 2}), world.owner.key)))
    assert (newest(world).code, newest(world).subjects.datasets) == ("freshness.policy", (data.dataset_id,))


def test_nothing_secret_enters_it(world: BrokerWorld) -> None:
    """What a refused party reads sealed (expected and seen), what policies say, keys: none of it."""
    data = world.register_data(max_jobs=4242, max_trainers=3)
    order = world.order(data, world.register_bundle(), trainers=9)
    body = AcceptOrder(order=sign(order, world.owner.key), release=world.release)
    assert refused(world, body) == "policy.slots"
    stored = b"".join(world.store.entries)
    for secret in (b"4242", b"trainers", data.key._raw, world.owner.report_key[:64], data.policy.payload[:48]):
        assert secret not in stored
    assert (newest(world).outcome, newest(world).code) == ("refused", "policy.slots")


def test_a_refused_launch_names_its_job_and_its_quote_and_no_measurement(world: BrokerWorld) -> None:
    job_id = world.start_job()
    with pytest.raises(Refusal, match="appraisal.measurement"):
        world.launch(TRAINER, job_id, measurement=MEASUREMENTS["query"])
    entry = newest(world)
    assert (entry.decision, entry.code, entry.subjects.job) == ("admit-launch", "appraisal.measurement", job_id)
    assert entry.subjects.evidence is not None
    assert entry.subjects.measurement is None


def test_a_refused_draw_names_its_grant_once(world: BrokerWorld) -> None:
    job_id = world.start_job()
    model = world.finish(job_id)
    enclave, grant = world.launch(QUERY, job_id), world.grant(model, answers=1)
    world.draw(enclave, grant, 1)
    for _ in range(3):
        with pytest.raises(Refusal, match="policy.budget"):
            world.draw(enclave, grant, 1)
    codes = [one.code for one in entries(world) if one.code]
    assert codes == ["policy.budget"]
    assert newest(world).subjects.document == grant.digest
    assert tree_head(world).refusals_counted == 2


def test_a_renewal_is_logged_when_it_is_refused_alone(world: BrokerWorld) -> None:
    data = world.register_data()
    trainer = world.launch(TRAINER, world.start_job(data))
    before = world.head
    renew_lease(world.runtime("trainer"), world.channel(), trainer)
    assert world.head == before
    world.revoke(world.owner, "dataset", data.dataset_id)
    with pytest.raises(Refusal) as caught:
        renew_lease(world.runtime("trainer"), world.channel(), trainer)
    entry = newest(world)
    assert (entry.decision, entry.outcome, entry.code) == ("renew-lease", "refused", caught.value.code)
    assert (entry.subjects.role, entry.subjects.slot, entry.subjects.attempt) == (TRAINER, 0, 1)


# -- who can write into it -----------------------------------------------------------------------------------------


def test_strangers_write_nothing(world: BrokerWorld) -> None:
    """Forged and unknown signers, unknown things, malformed bytes: counted, and the log stays as it is meanwhile."""
    stranger = Party()
    data, bundle, job_id = world.register_data(), world.register_bundle(), world.start_job()
    before, counted = world.head, tree_head(world).refusals_counted
    order = world.order(data, bundle, trainers=9)
    revocation = Revocation(
        nonce=secrets.token_bytes(16), party=stranger.party, target="job", identifier=job_id,
        broker=world.genesis.signing_public, created=1,
    )  # fmt: skip
    missing = order.model_copy(update={"datasets": (DatasetId("data_" + "0" * 32),)})
    unwanted: list[RequestBody] = [
        AcceptOrder(order=sign(order, stranger.key), release=world.release),
        AcceptOrder(order=sign(missing, world.owner.key), release=world.release),
        Revoke(revocation=sign(revocation, stranger.key)),
        IssueChallenge(role=TRAINER, job_id=job_id, slot=99),
        world.policy_update(data, sign(world.policy_terms(stranger), stranger.key)),
        world.dataset_registration(world.seal_data(stranger, minimal_trust_level="sgx")),
    ]
    for body in unwanted:
        assert refused(world, body)
    world.handle(b"malformed")
    assert world.head == before
    assert tree_head(world).refusals_counted == counted + len(unwanted) + 1


def test_a_known_partys_refused_registration_is_entered_once(world: BrokerWorld) -> None:
    world.register_data()
    world.register_bundle()
    data, bundle = world.seal_data(minimal_trust_level="sgx"), world.seal_bundle(minimal_trust_level="sgx")
    for body, party, code in (
        (world.dataset_registration(data), world.owner, "policy.trust_level"),
        (world.bundle_registration(bundle), world.provider, "policy.provider_terms"),
    ):
        for _ in range(3):
            assert refused(world, body) == code
        entry = newest(world)
        assert (entry.decision, entry.code) == (body.type, code)
        assert entry.subjects.parties == entry.subjects.signers == (party.party,)
        assert entry.number == world.head.size - 1
    assert [one.outcome for one in entries(world)].count("refused") == 2


def test_another_partys_attempt_is_told_to_whom_it_concerns_and_not_to_who_made_it(world: BrokerWorld) -> None:
    other = Party()
    world.register_data(other)
    job_id = world.start_job()
    with pytest.raises(Refusal, match="policy.signer"):
        world.revoke(other, "job", job_id)
    entry = newest(world)
    assert (entry.code, entry.subjects.signers) == ("policy.signer", (other.party,))
    assert world.owner.party in entry.subjects.parties
    assert other.party not in entry.subjects.parties


def test_a_replayed_refusal_is_entered_once(world: BrokerWorld) -> None:
    body = bad_order(world)
    assert refused(world, body) == "policy.slots"
    before = world.head
    for _ in range(50):
        assert refused(world, body) == "policy.slots"
    assert world.head == before
    assert tree_head(world).refusals_counted == 50


def test_a_party_that_tries_without_end_is_bounded(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle()
    before = world.head.size
    for _ in range(30):
        order = world.order(data, bundle, trainers=9)
        assert refused(world, AcceptOrder(order=sign(order, world.owner.key), release=world.release))
    assert world.head.size == before + refusal_log.REFUSALS_KEPT
    world.restart()  # the next epoch has bounds of its own
    assert refused(world, AcceptOrder(order=sign(order, world.owner.key), release=world.release))
    assert newest(world).code == "policy.slots"


# -- witnesses -----------------------------------------------------------------------------------------------------


def test_a_frozen_broker_logs_no_refusal_and_none_thaws_it(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    world.confirm(world.witnesses[0])
    body = bad_order(world)
    world.restart()
    before = world.head
    for _ in range(3):
        assert refused(world, body) == "unavailable.frozen"
    assert world.head == before
    assert world.describe().frozen
    assert tree_head(world).refusals_counted == 3


def test_refusals_alone_never_freeze_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a quarter of what the broker may run ahead of its witnesses; the rest is for decisions."""
    monkeypatch.setattr(state_anchor, "UNCONFIRMED_LIMIT", 16)
    monkeypatch.setattr(state_anchor, "ROOM", 4)
    monkeypatch.setattr(refusal_log, "REFUSALS_KEPT", 1000)
    world = BrokerWorld(tmp_path, witnesses=1)
    world.confirm(world.witnesses[0])
    data, bundle = world.register_data(), world.register_bundle()
    world.confirm(world.witnesses[0])
    before = world.head.size
    for _ in range(40):
        order = world.order(data, bundle, trainers=9)
        assert refused(world, AcceptOrder(order=sign(order, world.owner.key), release=world.release)) == "policy.slots"
    assert world.head.size == before + 4
    for _ in range(12):
        world.register_data()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        world.register_data()


def test_a_tree_head_is_the_brokers_and_of_this_log(world: BrokerWorld) -> None:
    head = tree_head(world)
    assert (head.broker, head.head) == (world.genesis.digest, world.head)
    forged = sign(head, SigningKey.generate())
    with pytest.raises(Refusal, match="authenticity.signature"):
        open_tree_head(forged, world.genesis)
    with pytest.raises(Refusal, match="format.message"):
        open_tree_head(Signed.decode(world.release.encode()), world.genesis)
