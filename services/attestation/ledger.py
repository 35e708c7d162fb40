"""What each data set is charged, in bits, and what its owner reads of it (side: enclave).

A report to the provider is charged when an order is accepted whose owners' policies all allow one, an attempt when a
trainer is admitted, answers when their block is drawn: before anything leaves, and to every data set of the job. What
a policy's `max_bits` does not cover is refused (policy.bits). Formulas: common/leakage.

A ledger is read by the owner of the data set alone: the request is signed, the answer sealed to the report key that the
newest policy names, at a fixed size. To anybody else there is no such data set.
"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import Final

from common.crypto.wrapping import wrap
from common.errors import NotFoundError, PolicyError
from common.identifiers import BundleId, DatasetId, GrantId
from common.key_binding import ledger_info
from common.leakage import attempt_bits, report_bits
from common.messages.ledger import Ledger, LedgerReply, LedgerRequest, ReadLedger
from common.messages.policy import DataPolicy
from common.messages.signed import open_signed
from common.policy_rules import require_bits_left, weakest_report
from services.attestation.context import BrokerContext
from services.attestation.entitlement import judge_each
from services.attestation.records import DatasetRecord, JobRecord, TallyRecord

LEDGER_BYTES: Final = 2048

JOBS, ATTEMPTS, ATTEMPT_BITS, ANSWERS, ANSWER_BITS = "jobs", "attempts", "attempt-bits", "answers", "answer-bits"
REPORT_BITS: Final = "report-bits"


def tally_of(what: str, thing: DatasetId | BundleId | GrantId) -> str:
    """Name of a thing's counter: of a data set; answers also of a bundle or a grant."""
    return f"{what} {thing}"


def bits_spent(broker: BrokerContext, dataset_id: DatasetId) -> int:
    """What a data set was charged so far."""
    return sum(broker.state.tally(tally_of(what, dataset_id)) for what in (ATTEMPT_BITS, ANSWER_BITS, REPORT_BITS))


def require_bits(broker: BrokerContext, dataset_id: DatasetId, policy: DataPolicy, bits: int) -> None:
    """The policy covers `bits` more. Raises `PolicyError` (policy.bits)."""
    require_bits_left(policy, bits_spent(broker, dataset_id), bits)


def require_attempt_bits(broker: BrokerContext, job: JobRecord, attempts: int = 1) -> None:
    """Every data set of the job can be charged for more attempts, under the accepted policy and the newest."""
    bits = attempts * attempt_bits(job.order.schedule)
    judge_each(
        [
            (policy, partial(require_bits, broker, data.dataset_id, policy, bits))
            for data, accepted in zip(broker.datasets_of(job), job.accepted_policies, strict=True)
            for policy in (data.policy, accepted)
        ]
    )


def charged_attempt(broker: BrokerContext, job: JobRecord) -> Iterator[TallyRecord]:
    """The counters after one more attempt of a trainer."""
    for dataset_id in job.order.datasets:
        yield broker.state.tally_after(tally_of(ATTEMPTS, dataset_id), 1)
        yield broker.state.tally_after(tally_of(ATTEMPT_BITS, dataset_id), attempt_bits(job.order.schedule))


def bits_of_report(datasets: Collection[DatasetRecord]) -> int:
    """What a new order's report to its provider is charged: the newest policies decide, and later ones only narrow."""
    return report_bits(weakest_report(*(data.policy.refusal_report for data in datasets)))


def charged_report(broker: BrokerContext, datasets: Collection[DatasetRecord]) -> Iterator[TallyRecord]:
    """The counters after one more order over these data sets."""
    if bits := bits_of_report(datasets):
        for data in datasets:
            yield broker.state.tally_after(tally_of(REPORT_BITS, data.dataset_id), bits)


def answers_in_bits(
    broker: BrokerContext, datasets: tuple[DatasetRecord, ...], each: int, needed: int
) -> dict[DatasetId, int]:
    """How many answers of `each` so many bits each limited data set can still be charged for, `needed` at least.

    Raises as `require_bits`.
    """
    found = dict[DatasetId, int]()
    judge_each(
        [(data.policy, partial(require_bits, broker, data.dataset_id, data.policy, needed * each)) for data in datasets]
    )
    for data in datasets:
        if data.policy.max_bits is not None:
            found[data.dataset_id] = (data.policy.max_bits - bits_spent(broker, data.dataset_id)) // each
    return found


def charged_answers(broker: BrokerContext, datasets: tuple[DatasetRecord, ...], bits: int) -> Iterator[TallyRecord]:
    """The counters of bits after a block of answers, which carry so many together."""
    for data in datasets:
        yield broker.state.tally_after(tally_of(ANSWER_BITS, data.dataset_id), bits)


def read_ledger(broker: BrokerContext, body: ReadLedger, at: int) -> LedgerReply:
    """Raises `AuthenticityError`, `PolicyError` (policy.broker) or `NotFoundError`, also for another owner's data."""
    party = LedgerRequest.decode(body.request.payload).party
    broker.parties.require_in_force(party)
    request = open_signed(body.request, LedgerRequest, [party])
    if request.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=request.broker)
    data = broker.dataset(request.dataset_id)
    if broker.parties.holder(data.manifest.owner) != party:
        raise NotFoundError("not_found.dataset", seen=request.dataset_id)
    plain = _ledger(broker, data, at).encode().ljust(LEDGER_BYTES)
    report_key = broker.parties.report_key(data.manifest.owner, data.policy.report_key)
    return LedgerReply(sealed=wrap(plain, report_key, ledger_info(body.request.digest, party)))


def _ledger(broker: BrokerContext, data: DatasetRecord, at: int) -> Ledger:
    def count(what: str) -> int:
        return broker.state.tally(tally_of(what, data.dataset_id))

    policy = data.policy
    return Ledger(
        dataset_id=data.dataset_id,
        time=at,
        policy_version=policy.policy_version,
        jobs=count(JOBS),
        max_jobs=policy.max_jobs,
        attempts=count(ATTEMPTS),
        attempt_bits=count(ATTEMPT_BITS),
        answers=count(ANSWERS),
        answers_total=policy.answers_total,
        answer_bits=count(ANSWER_BITS),
        report_bits=count(REPORT_BITS),
        max_bits=policy.max_bits,
    )
