"""Following a job to its end, with the reports that only its owner opens (side: owner).

While the job runs the host knows its public state; how well it learns is only in the reports that the parameter
server's enclave seals to the owner's report key.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.services import IngestService
from client.watching.reports import POLL_SECONDS, Reports, patiently
from common.errors import AppraisalError, NotFoundError, refusal_of
from common.identifiers import JobId, ModelId
from common.messages.jobs import ListMembers, Members
from common.messages.objects import ModelManifest
from common.messages.policy import JobReport
from common.messages.service import JobView
from common.messages.signed import Signed, open_signed

FINAL_STATES: Final = frozenset({"finished", "failed", "cancelled"})

Beat = Callable[[JobView], Iterable[e.Event]]
"""What else is told each time that the host was asked."""


def watch(
    party: Party, job_id: JobId, *, pause: Callable[[float], None] = time.sleep, beat: Beat = lambda _: ()
) -> Iterator[e.Event]:
    """Follow a job to its end: `ReportOpened` for each report, `JobSeen` when its public state changes.

    Ends with `ModelSealed`, or with the `JobSeen` of a job without a model. A schedule that ran to its end has a model,
    whatever was learned: the last report says that, and `ModelSealed` repeats it. A service that is away is waited for,
    `PATIENCE_SECONDS` at most.
    """
    order = party.document("orders", job_id)
    if order is None:
        raise NotFoundError("not_found.job", expected="a job that was ordered from this identity directory")
    reports, last = Reports(party, order, pause), None
    while last is None or last.state not in FINAL_STATES:
        view = patiently(functools.partial(reports.ingest.job, job_id), pause)
        yield from reports.read()
        yield from beat(view)
        if view != last:
            yield seen(view)
        last = view
        if view.state not in FINAL_STATES:
            pause(POLL_SECONDS)
    if last.model_id is not None:
        yield from reports.read_last()
        yield fetch_model(party, last.model_id, order, reports.newest)


def seen(view: JobView) -> e.JobSeen:
    """A job's public state, with what mends it."""
    return e.JobSeen(
        job_id=view.job_id,
        state=view.state,
        trainers=view.trainers,
        code=view.code,
        mend=_mend(view.code) if view.state == "failed" and view.code is not None else None,
        model_id=view.model_id,
    )


def _mend(code: str) -> str:
    refusal = refusal_of(code)
    return f"{refusal.mender} can mend it: {refusal.mend}"


def fetch_model(party: Party, model_id: ModelId, order: Signed, report: JobReport | None) -> e.ModelSealed:
    """The manifest of a job's model, held against the broker's own member list; what came of it is in the last report.

    (1) the broker's signed list names the launch that was the job's parameter server; (2) that launch signed the
    manifest; (3) the manifest is of this order. Raises `AuthenticityError` (1, 2) or `AppraisalError` (3).
    """
    signed, job_id = IngestService.of(party).model_manifest(model_id), JobId.of(order.digest)
    members = BrokerLink(party).ask(ListMembers(job_id=job_id), Members)  # (1)
    servers = [one.signing_public for one in members.members if one.role == "paramserver"]
    manifest = open_signed(signed, ModelManifest, servers)  # (2)
    if (manifest.model_id, manifest.job_id, manifest.order) != (model_id, job_id, order.digest):  # (3)
        raise AppraisalError("appraisal.manifest", expected=order.digest, seen=manifest.order)
    party.keep_document("models", manifest.model_id, signed)
    return e.ModelSealed(
        job_id=job_id,
        model_id=manifest.model_id,
        manifest=signed.digest,
        outcome=None if report is None else report.outcome,
        rounds_done=None if report is None else report.round,
        trust_level=manifest.trust_level,
    )
