"""Refusals of admissions, renewals and draws tell their reason to those whose terms refused, and to nobody else."""

from typing import Any

import pytest

from common.crypto.key_file import Identity
from common.errors import AppraisalError, FreshnessError, PolicyError, Refusal
from common.identifiers import Fmspc
from common.key_retrieval import renew_lease
from common.messages.jobs import AcceptOrder
from common.messages.reasons import REASONS_KEPT
from common.messages.refusal_detail import Refused
from common.messages.registration import Registered
from common.messages.signed import sign
from common.messages.tcb_terms import TcbTerms
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, Party, SealedData
from tests.fakes.handover_world import Heir
from tests.fakes.identities import Recoverable, bind, replaced
from tests.fakes.reading_reasons import reasons_of, told
from tests.unit.services.attestation.test_budget import Served
from tests.unit.services.attestation.test_registration import next_policy

OTHER_CODE = "ab" * 32
UNWANTED = TcbTerms(denied_fmspcs=(Fmspc("c0ffee000000"),))
"""Of simulated platforms: common/enclave/simulated_pki."""

NOTHING = (None, None)


def tighten(world: BrokerWorld, data: SealedData, **changes: Any) -> None:
    policy = next_policy(world, data, world.context.dataset(data.dataset_id).policy_document, **changes)
    world.channel(data.owner).ask(world.policy_update(data, policy), Registered)


def test_an_admission(world: BrokerWorld) -> None:
    """The owner's measurements refuse, and so does the provider's platform; the host gets the first code."""
    data, bundle = world.register_data(), world.register_bundle(tcb=UNWANTED)
    job_id = world.start_job(data, bundle)
    tighten(world, data, measurements=(OTHER_CODE,))
    with pytest.raises(PolicyError, match="policy.measurement") as shown:
        world.launch(TRAINER, job_id, 1)
    assert told(world, world.owner) == [("policy.measurement", f"one of ['{OTHER_CODE}']", MEASUREMENTS["trainer"])]
    [(code, expected, seen)] = told(world, world.provider)
    assert (code, seen) == ("appraisal.platform", "['c0ffee000000']")
    assert expected is not None
    [reason] = reasons_of(world, world.owner).reasons
    assert (reason.decision, reason.job, reason.role, reason.slot, reason.attempt) == (
        "admit-launch", job_id, TRAINER, 1, 1
    )  # fmt: skip
    assert (reason.entry, reason.time) == (world.head.size - 1, world.time)
    assert shown.value.expected is None
    assert MEASUREMENTS["trainer"] in str(shown.value.seen)


def test_what_the_operator_is_shown_is_its_own_machine(world: BrokerWorld) -> None:
    data = world.register_data(tcb=UNWANTED.model_copy(update={"rejected_advisories": ("INTEL-SA-00837",)}))
    with pytest.raises(AppraisalError) as shown:
        world.launch(TRAINER, world.start_job(data))
    assert shown.value.expected is None
    text = str(shown.value.seen)
    assert text.startswith(f"simulation, measurement {MEASUREMENTS['trainer']}, FMSPC c0ffee000000, platform ")
    assert "TCB UpToDate of 20" in text
    assert "INTEL" not in text


def test_a_challenge(world: BrokerWorld) -> None:
    data = world.register_data(max_attempts=1)
    job_id = world.start_job(data)
    world.launch(TRAINER, job_id)
    with pytest.raises(PolicyError, match="policy.attempts") as shown:
        world.launch(TRAINER, job_id)
    assert (shown.value.expected, shown.value.seen) == NOTHING
    assert told(world, world.owner) == [("policy.attempts", "at most 1 attempts", "2")]


def test_a_renewal(world: BrokerWorld) -> None:
    data = world.register_data()
    job_id = world.start_job(data)
    launch = world.launch(TRAINER, job_id)
    tighten(world, data, tcb=UNWANTED)
    with pytest.raises(AppraisalError, match="appraisal.platform"):
        renew_lease(world.runtime("trainer"), world.channel(), launch)
    [reason] = reasons_of(world, world.owner).reasons
    assert (reason.decision, reason.code) == ("renew-lease", "appraisal.platform")
    assert reason.detail.seen == "['c0ffee000000']"


def test_a_draw_by_terms(world: BrokerWorld) -> None:
    served = Served(world)
    grant = world.grant(served.manifest)
    tighten(world, served.data, users=(served.data.owner.party,))
    with pytest.raises(PolicyError, match="policy.user") as shown:
        world.draw(served.enclave, grant)
    assert (shown.value.expected, shown.value.seen) == NOTHING
    assert told(world, world.owner) == [("policy.user", f"one of ['{world.owner.party}']", world.user.party)]
    assert [one[1:] for one in told(world, world.provider)] == [NOTHING]


@pytest.mark.parametrize(
    ("policy", "terms", "owner", "provider"),
    [
        ({"answers_total": 10}, {}, ("at most 10 answers", "10 drawn"), NOTHING),
        ({}, {"answers_total": 10}, NOTHING, ("at most 10 answers", "10 drawn")),
    ],
)
def test_a_draw_beyond_a_total(world: BrokerWorld, policy: Any, terms: Any, owner: Any, provider: Any) -> None:
    served = Served(world, policy=policy, terms=terms)
    grant = world.grant(served.manifest)
    world.draw(served.enclave, grant)
    with pytest.raises(PolicyError, match="policy.budget") as shown:
        world.draw(served.enclave, grant)
    assert (shown.value.expected, shown.value.seen) == NOTHING
    assert [one[1:] for one in told(world, world.owner)] == [owner]
    assert [one[1:] for one in told(world, world.provider)] == [provider]


def test_a_user_is_told_what_its_own_grant_says(world: BrokerWorld) -> None:
    served = Served(world)
    small, short = world.grant(served.manifest, answers=3), world.grant(served.manifest, not_after=world.time)
    world.draw(served.enclave, small)
    with pytest.raises(PolicyError, match="policy.budget") as used_up:
        world.draw(served.enclave, small)
    assert (used_up.value.expected, used_up.value.seen) == ("at most 3 answers", "3 drawn")
    world.time += 1
    with pytest.raises(FreshnessError, match="freshness.grant") as over:
        world.draw(served.enclave, short)
    assert over.value.seen == f"until {world.time - 1}"
    assert told(world, world.owner) == []


def test_an_order_that_an_owner_brought_is_told_to_the_provider(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle(owners=(Party().party,))
    order = sign(world.order(data, bundle), world.owner.key)
    assert isinstance(world.reply(AcceptOrder(order=order, release=world.release)).body, Refused)
    assert [code for code, *_ in told(world, world.provider)] == ["policy.provider_terms"]
    assert told(world, world.owner) == [("policy.provider_terms", None, None)]


def test_a_release_that_refuses_is_told_to_release_keys(world: BrokerWorld) -> None:
    job_id = world.start_job()
    with pytest.raises(AppraisalError, match="appraisal.measurement") as shown:
        world.launch(TRAINER, job_id, measurement=MEASUREMENTS["query"])
    expected = (MEASUREMENTS["trainer"], MEASUREMENTS["query"])
    assert (shown.value.expected, shown.value.seen) == expected
    assert told(world, world.owner) == []
    own = Identity.generate("release", unsafe_simulation=True)
    keys = Identity("release", world.release_keys[0], own.report_key, unsafe_simulation=True)
    assert told(world, Party(keys), of_release=True) == [("appraisal.measurement", *expected)]
    with pytest.raises(PolicyError, match="policy.release_key"):
        reasons_of(world, world.owner, of_release=True)


def test_they_outlive_a_restart_and_go_round(world: BrokerWorld) -> None:
    """Of a reader the newest stay; the older ones are counted."""
    data, bundle = world.register_data(max_trainers=1), world.register_bundle()

    def refuse(*orders: int) -> None:
        for trainers in orders:
            order = sign(world.order(data, bundle, trainers=trainers), world.owner.key)
            world.reply(AcceptOrder(order=order, release=world.release))

    more = 3
    for first in range(2, 2 + REASONS_KEPT + more):
        refuse(first)
        world.restart()  # each epoch has room for as many refusals alike
    read = reasons_of(world, world.owner)
    assert [one.detail.seen for one in read.reasons] == [str(2 + more + one) for one in range(REASONS_KEPT)]
    assert (read.dropped, read.unkept) == (more, 0)


def test_what_the_log_only_counts_is_counted(world: BrokerWorld) -> None:
    data = world.register_data(max_attempts=1)
    job_id = world.start_job(data)
    world.launch(TRAINER, job_id)
    for _ in range(6):
        with pytest.raises(Refusal, match="policy.attempts"):
            world.launch(TRAINER, job_id)
    read = reasons_of(world, world.owner)
    assert (len(read.reasons), read.dropped, read.unkept) == (1, 0, 5)
    world.launch(TRAINER, job_id, 1)  # the next decision carries the count
    world.restart()
    assert reasons_of(world, world.owner).unkept == 5


def test_a_query_enclaves_placement(world: BrokerWorld) -> None:
    data = world.register_data()
    job_id = world.start_job(data)
    world.finish(job_id)
    tighten(world, data, not_after=world.time)
    world.time += 1
    with pytest.raises(PolicyError, match="policy.expired"):
        world.launch(QUERY, job_id)
    assert told(world, world.owner) == [("policy.expired", f"valid at {world.time}", f"until {world.time - 1}")]


def test_they_go_along_at_a_handover(world: BrokerWorld) -> None:
    heir = Heir.of(world)
    data = world.register_data(max_attempts=1)
    job_id = world.start_job(data)
    world.launch(TRAINER, job_id)
    with pytest.raises(PolicyError, match="policy.attempts"):
        world.launch(TRAINER, job_id)
    heir.succeed(leave_behind=True)
    assert told(world, world.owner) == [("policy.attempts", "at most 1 attempts", "2")]


def test_an_identitys_successor_reads_on_and_the_thief_does_not(world: BrokerWorld) -> None:
    owner = Recoverable()
    bind(world, owner)
    data = world.register_data(owner, max_jobs=0)
    order = sign(world.order(data, world.register_bundle()), owner.key)
    assert isinstance(world.reply(AcceptOrder(order=order, release=world.release)).body, Refused)
    successor = replaced(world, owner)
    assert told(world, successor) == [("policy.jobs", "at most 0 jobs", "1")]
    with pytest.raises(PolicyError, match="policy.identity"):
        reasons_of(world, owner)
