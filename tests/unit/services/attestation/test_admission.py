from typing import Any

import pytest

from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.dcap import verify_quote
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import AppraisalError, AuthenticityError, ConflictError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import ChallengeId, Digest, Fmspc, JobId, MrEnclave, PlatformId, RoleName
from common.messages.admission import Admission, Admit
from common.messages.jobs import ListMembers, Members
from common.messages.placement import Placement
from common.messages.registration import Registered
from common.messages.signed import open_signed, sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.challenges import LIFETIME_SECONDS
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, QUERY, TRAINER, BrokerWorld, TestRuntime
from tests.fakes.half_launch import HalfLaunch


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


def members(world: BrokerWorld, job_id: JobId) -> Members:
    return world.channel().ask(ListMembers(job_id=job_id), Members)


def test_each_role_gets_its_keys_and_no_others(world: BrokerWorld, job_id: JobId) -> None:
    first, second = world.launch(TRAINER, job_id, 0), world.launch(TRAINER, job_id, 1)
    dataset = first.order.datasets[0]
    assert set(first.keys) == {"job", "seed", "bundle", f"data/{dataset}"}
    assert all(first.keys[name] == second.keys[name] for name in first.keys)
    world.finish(job_id)
    query = world.launch(QUERY, job_id)
    assert set(query.keys) == {"bundle", "model"}
    assert query.keys["bundle"] == first.keys["bundle"]
    assert query.terms.mr_enclaves == MEASUREMENTS


def test_the_parameter_server_seals_with_the_key_that_query_enclaves_get(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    assert set(server.keys) == {"job", "seed", "bundle", "model"}
    world.finish(job_id)  # a later attempt: the same key
    assert world.launch(QUERY, job_id).keys["model"] == server.keys["model"]


def test_members_are_listed_with_their_newest_attempt(world: BrokerWorld, job_id: JobId) -> None:
    world.launch(TRAINER, job_id, 0)
    newest, other = world.launch(TRAINER, job_id, 0), world.launch(TRAINER, job_id, 1)
    listed = members(world, job_id)
    assert listed.state == "running"
    assert [(one.role, one.slot, one.attempt, one.signing_public) for one in listed.members] == [
        ("trainer", 0, 2, newest.signing_key.party),
        ("trainer", 1, 1, other.signing_key.party),
    ]


def test_of_two_launches_that_claim_one_attempt_the_second_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    one, clone = HalfLaunch(world, job_id), HalfLaunch(world, job_id)
    one.admit()
    with pytest.raises(FreshnessError, match="freshness.attempt"):
        clone.admit()
    assert members(world, job_id).members[0].signing_public == one.signing.party


def test_attempts_are_bounded_per_slot(world: BrokerWorld, job_id: JobId) -> None:
    for attempt in (1, 2, 3):
        assert world.launch(TRAINER, job_id).attempt == attempt
    world.restart()
    with pytest.raises(PolicyError, match="policy.attempts"):
        world.launch(TRAINER, job_id)
    assert world.launch(TRAINER, job_id, 1).attempt == 1


def test_a_challenge_is_spent_by_its_first_use_whatever_comes_of_it(world: BrokerWorld, job_id: JobId) -> None:
    launch = HalfLaunch(world, job_id)
    with pytest.raises(AppraisalError):
        launch.admit(slot=1)
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        launch.admit()


def test_a_stale_challenge_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    launch = HalfLaunch(world, job_id)
    world.time += LIFETIME_SECONDS + 1
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        launch.admit()


def test_challenges_die_with_the_broker_instance(world: BrokerWorld, job_id: JobId) -> None:
    launch = HalfLaunch(world, job_id)
    world.restart()
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        launch.admit()


def test_an_invented_challenge_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    launch = HalfLaunch(world, job_id)
    launch.challenge = launch.challenge.model_copy(update={"challenge_id": ChallengeId.new()})
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        launch.admit()


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": 1},
        {"attempt": 2},
        {"role": PARAMSERVER},
        {"subject": Digest("ab" * 32)},
        {"broker": Digest("ab" * 32)},
        {"nonce": bytes(32)},
    ],
)
def test_a_binding_that_is_not_the_challenges_is_refused(
    world: BrokerWorld, job_id: JobId, changes: dict[str, Any]
) -> None:
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        HalfLaunch(world, job_id).admit(**changes)
    assert members(world, job_id).members == ()


@pytest.mark.parametrize("part", ["nonce", "broker", "subject", "slot", "attempt", "wrapping_public", "signing_public"])
def test_a_quote_over_another_binding_is_refused(world: BrokerWorld, job_id: JobId, part: str) -> None:
    """All 64 bytes of report data count, so no part can be exchanged after the quote was made."""
    other = {
        "nonce": bytes(32), "broker": Digest("ab" * 32), "subject": Digest("ab" * 32), "slot": 1, "attempt": 7,
        "wrapping_public": WrappingKey.generate().public, "signing_public": SigningKey.generate().party,
    }[part]  # fmt: skip
    launch = HalfLaunch(world, job_id)
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        launch.admit(quoted=launch.binding.model_copy(update={part: other}))


def test_an_enclave_of_another_role_or_code_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    with pytest.raises(AppraisalError, match="appraisal.measurement"):
        HalfLaunch(world, job_id).admit(runtime=world.runtime("paramserver"))
    with pytest.raises(AppraisalError, match="appraisal.measurement"):
        HalfLaunch(world, job_id).admit(runtime=world.runtime("trainer", MrEnclave("ab" * 32)))


def test_a_platform_under_another_root_is_refused(world: BrokerWorld, job_id: JobId, tmp_path: Any) -> None:
    foreign = SimulatedPlatform.open_or_create(tmp_path / "foreign")
    runtime = TestRuntime(foreign, MEASUREMENTS["trainer"], world.trust)
    with pytest.raises(AppraisalError, match="appraisal.root"):
        HalfLaunch(world, job_id).admit(runtime=runtime)


def test_a_quote_with_a_changed_byte_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    launch = HalfLaunch(world, job_id)
    evidence = world.runtime("trainer").evidence(launch.binding.report_data())
    quote = bytearray(evidence.quote)
    quote[48 + 64] ^= 1  # first byte of MRENCLAVE in the report
    body = Admit(
        challenge_id=launch.challenge.challenge_id,
        binding=launch.binding,
        evidence=evidence.model_copy(update={"quote": bytes(quote)}),
    )
    with pytest.raises(AuthenticityError, match="authenticity.quote"):
        world.channel().ask(body, Admission)


@pytest.mark.parametrize(("role", "slot"), [(TRAINER, 2), (PARAMSERVER, 1), (RoleName("broker"), 0), (QUERY, 1)])
def test_slots_that_the_order_does_not_have_are_refused(
    world: BrokerWorld, job_id: JobId, role: RoleName, slot: int
) -> None:
    with pytest.raises(NotFoundError, match="not_found.role"):
        world.launch(role, job_id, slot)


def test_an_unknown_job_is_refused(world: BrokerWorld) -> None:
    with pytest.raises(NotFoundError, match="not_found.job"):
        world.launch(TRAINER, JobId("job_" + "0" * 32))


def test_no_query_enclave_before_there_is_a_model(world: BrokerWorld, job_id: JobId) -> None:
    with pytest.raises(NotFoundError, match="not_found.model"):
        world.launch(QUERY, job_id)


def test_members_of_an_ended_job_get_nothing_more(world: BrokerWorld, job_id: JobId) -> None:
    late = HalfLaunch(world, job_id)
    world.finish(job_id)
    with pytest.raises(ConflictError, match="conflict.job_state"):
        late.admit()
    with pytest.raises(ConflictError, match="conflict.job_state"):
        world.launch(TRAINER, job_id, 1)


def test_a_job_whose_order_is_over_gets_nothing_more(world: BrokerWorld, job_id: JobId) -> None:
    world.time += 3601
    with pytest.raises(FreshnessError, match="freshness.order"):
        world.launch(TRAINER, job_id)


def test_a_policy_that_ended_since_the_order_counts(world: BrokerWorld) -> None:
    job_id = world.start_job(data=world.register_data(not_after=world.time + 10))
    world.time += 11
    with pytest.raises(PolicyError, match="policy.expired"):
        world.launch(TRAINER, job_id)


def test_a_placement_names_launch_model_and_authorities(world: BrokerWorld, job_id: JobId) -> None:
    manifest = world.finish(job_id)
    first, second = world.launch(QUERY, job_id), world.launch(QUERY, job_id)
    assert (first.attempt, second.attempt) == (1, 2)
    for enclave in (first, second):
        assert enclave.placement is not None
        placement = open_signed(enclave.placement, Placement, [world.genesis.signing_public])
        assert placement.manifest == manifest.digest
        assert placement.launch == enclave.signing_key.party
        assert placement.report_data == enclave.report_data
        assert placement.grant_authorities == (world.owner.party,)
        assert (placement.release, placement.trust_level) == (world.release.digest, "simulation")
        assert not placement.witnessed
        assert placement.not_after == world.time + 86_400


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (TcbTerms(denied_platforms=(PlatformId("00" * 16),), min_tcb_evaluation=99), "appraisal.tcb_evaluation"),
        (TcbTerms(allowed_fmspcs=(Fmspc("00906ed50000"),)), "appraisal.platform"),
        (TcbTerms(platforms=(PlatformId("ab" * 16),)), "appraisal.platform"),
    ],
)
def test_every_party_s_terms_over_the_machine_hold(world: BrokerWorld, terms: TcbTerms, code: str) -> None:
    for job_id in (
        world.start_job(data=world.register_data(tcb=terms)),
        world.start_job(bundle=world.register_bundle(tcb=terms)),
    ):
        with pytest.raises(AppraisalError, match=code):
            world.launch(TRAINER, job_id)
        assert members(world, job_id).members == ()


def test_one_platform_is_shut_out_by_the_next_policy_version(world: BrokerWorld) -> None:
    """An extracted key of one machine, anywhere, is of no use from then on."""
    data = world.register_data()
    job_id = world.start_job(data=data)
    world.launch(TRAINER, job_id)
    evidence = world.runtime("trainer").evidence(bytes(64))
    (known, *_) = verify_quote(evidence, world.trust.allowed_roots, world.time).machine.platform_ids
    terms = world.policy_terms(
        data.owner, policy_version=2, previous=data.policy.digest, tcb=TcbTerms(denied_platforms=(known,))
    )
    world.channel().ask(world.policy_update(data, sign(terms, data.owner.key)), Registered)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform"):
        world.launch(TRAINER, job_id)
