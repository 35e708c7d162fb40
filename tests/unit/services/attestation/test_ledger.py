"""Every attempt and every answer is charged in bits, refused where the policy has none left, and told to the owner."""

import secrets
from typing import Any

import pytest

from common.errors import NotFoundError, PolicyError
from common.identifiers import DatasetId, JobId, PartyKey
from common.key_binding import ledger_info
from common.leakage import answer_bits, attempt_bits, report_bits
from common.messages.ledger import Ledger, LedgerReply, LedgerRequest, ReadLedger
from common.messages.signed import sign
from services.attestation.ledger import LEDGER_BYTES
from tests.fakes.broker_world import ANSWER, QUERY, SCHEDULE, TRAINER, BrokerWorld, Party, SealedData
from tests.unit.services.attestation.test_budget import Served

ATTEMPT, REPORT = attempt_bits(SCHEDULE), report_bits("classes")
LABEL, SCORES = answer_bits(ANSWER, "label"), answer_bits(ANSWER, "scores")


def ledger(world: BrokerWorld, dataset_id: DatasetId, owner: Party | None = None, **changes: Any) -> Ledger:
    owner = owner or world.owner
    fields = {
        "nonce": secrets.token_bytes(16), "party": owner.party, "dataset_id": dataset_id,
        "broker": world.genesis.signing_public,
    } | changes  # fmt: skip
    request = sign(LedgerRequest(**fields), owner.key)
    reply = world.channel(owner).ask(ReadLedger(request=request), LedgerReply)
    plain = owner.identity.report_key.open(reply.sealed, ledger_info(request.digest, owner.party))
    assert len(plain) == LEDGER_BYTES
    return Ledger.decode(plain)


def test_attempts_and_answers_are_charged(world: BrokerWorld) -> None:
    data, bundle = world.register_data(max_bits=10**6), world.register_bundle()
    job_id = world.start_job(data, bundle)
    for slot in (0, 1, 1):
        world.launch(TRAINER, job_id, slot)
    manifest = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    world.draw(enclave, world.grant(manifest, detail="label"), 10)
    world.draw(enclave, world.grant(manifest), 5)
    seen = ledger(world, data.dataset_id)
    assert (seen.jobs, seen.attempts, seen.attempt_bits) == (1, 3, 3 * ATTEMPT)
    assert (seen.answers, seen.answer_bits) == (15, 10 * LABEL + 5 * SCORES)
    assert (seen.max_jobs, seen.answers_total, seen.max_bits, seen.policy_version) == (5, 1000, 10**6, 1)


def test_a_report_to_the_provider_is_charged_once_a_job_where_all_owners_let_it(world: BrokerWorld) -> None:
    second, bundle = Party(), world.register_bundle()
    tells = [world.register_data(refusal_report="classes"), world.register_data(second, refusal_report="classes")]
    keeps = world.register_data(second)

    def order(*datasets: SealedData) -> JobId:
        signers = {data.owner.party: data.owner.key for data in datasets}
        return world.accept(sign(world.order(list(datasets), bundle), *signers.values())).job_id

    job_id = order(*tells)
    for slot in (0, 1, 1):
        world.launch(TRAINER, job_id, slot)
    world.finish(job_id)
    for data in tells:
        seen = ledger(world, data.dataset_id, data.owner)
        assert (seen.report_bits, seen.attempt_bits) == (REPORT, 3 * ATTEMPT)
    order(tells[0], keeps)
    assert [ledger(world, data.dataset_id, data.owner).report_bits for data in (*tells, keeps)] == [REPORT, REPORT, 0]
    order(tells[0])
    assert ledger(world, tells[0].dataset_id).report_bits == 2 * REPORT


def test_an_order_whose_report_the_bits_do_not_cover_is_refused(world: BrokerWorld) -> None:
    bundle, most = world.register_bundle(), 2 * ATTEMPT + REPORT
    enough, short = (world.register_data(max_bits=bits, refusal_report="classes") for bits in (most, most - 1))
    assert world.accept(sign(world.order(enough, bundle), world.owner.key)).trainers == 2
    with pytest.raises(PolicyError, match="policy.bits"):
        world.accept(sign(world.order(short, bundle), world.owner.key))


def test_the_ledger_outlives_the_broker(world: BrokerWorld) -> None:
    data = world.register_data()
    world.launch(TRAINER, world.start_job(data))
    world.restart()
    assert ledger(world, data.dataset_id).attempt_bits == ATTEMPT
    assert ledger(world, data.dataset_id).max_bits is None


def test_an_order_that_the_bits_do_not_cover_is_refused(world: BrokerWorld) -> None:
    bundle = world.register_bundle()
    enough, short = (world.register_data(max_bits=bits) for bits in (2 * ATTEMPT, 2 * ATTEMPT - 1))
    assert world.accept(sign(world.order(enough, bundle), world.owner.key)).trainers == 2
    with pytest.raises(PolicyError, match="policy.bits") as told:
        world.accept(sign(world.order(short, bundle), world.owner.key), world.owner)
    assert told.value.expected == f"at most {2 * ATTEMPT - 1} of {2 * ATTEMPT - 1} bits"


def test_an_attempt_that_the_bits_do_not_cover_gets_no_keys(world: BrokerWorld) -> None:
    data = world.register_data(max_bits=2 * ATTEMPT)
    job_id = world.start_job(data)
    for slot in (0, 1):
        world.launch(TRAINER, job_id, slot)
    with pytest.raises(PolicyError, match="policy.bits"):
        world.launch(TRAINER, job_id, 0)
    assert world.finish(job_id)  # a parameter server runs no provider code and is not charged
    assert ledger(world, data.dataset_id).attempts == 2


def test_answers_end_with_the_bits(world: BrokerWorld) -> None:
    served = Served(world, policy={"max_bits": 2 * ATTEMPT + 5 * SCORES + LABEL})
    block = world.draw(served.enclave, world.grant(served.manifest), 3)
    assert (block.answers, block.remaining) == (3, (2 * ATTEMPT + 5 * SCORES + LABEL) // SCORES - 3)
    world.draw(served.enclave, world.grant(served.manifest), block.remaining)
    with pytest.raises(PolicyError, match="policy.bits"):
        world.draw(served.enclave, world.grant(served.manifest))
    assert world.draw(served.enclave, world.grant(served.manifest, detail="label")).answers > 0


def test_every_data_set_of_a_job_is_charged(world: BrokerWorld) -> None:
    second, bundle = Party(), world.register_bundle()
    datasets = [world.register_data(), world.register_data(second, max_bits=2 * ATTEMPT + LABEL)]
    job_id = world.accept(sign(world.order(datasets, bundle), world.owner.key, second.key)).job_id
    world.launch(TRAINER, job_id)
    grant = world.grant(world.finish(job_id), world.owner, second)
    with pytest.raises(PolicyError, match="policy.bits"):
        world.draw(world.launch(QUERY, job_id), grant)
    for data, owner in zip(datasets, (world.owner, second), strict=True):
        assert ledger(world, data.dataset_id, owner).attempt_bits == ATTEMPT


def test_only_the_owner_reads_a_ledger(world: BrokerWorld) -> None:
    data = world.register_data()
    for stranger in (Party(), world.provider):
        with pytest.raises(NotFoundError, match="not_found.dataset"):
            ledger(world, data.dataset_id, stranger)
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        ledger(world, DatasetId("data_" + "0" * 32))
    with pytest.raises(PolicyError, match="policy.broker"):
        ledger(world, data.dataset_id, broker=PartyKey("ab" * 32))
