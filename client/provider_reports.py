"""What a provider reads of the jobs of a bundle (side: owner: the provider's machine).

Which jobs there are is what the key broker's log says, verified as by `cloister audit`. What is read of each was sealed
to this provider by the parameter server's enclave that ended it.
"""

from collections.abc import Iterator
from pathlib import Path

from client.audit import read_log
from client.broker import BrokerLink
from client.context import Party
from client.events import Event, ProviderReportRead
from client.services import IngestService
from common.errors import AppraisalError, NotFoundError
from common.identifiers import BundleId, JobId
from common.key_binding import provider_report_info
from common.messages.jobs import ListMembers, Members
from common.messages.provider_report import ProviderReport
from common.messages.signed import Signed, open_signed


def reports(party: Party, bundle_id: BundleId, source: Path | None = None) -> Iterator[Event]:
    """The jobs that were ordered with a bundle, oldest first: `LogVerified`, then a `ProviderReportRead` for each.

    `source`: a log that was fetched before. Raises what `audit.read_log` and `open_provider_report` raise.
    """
    log, event = read_log(party, source)
    yield event
    ingest, link = IngestService.of(party), BrokerLink(party)
    for entry in log.entries:
        job_id = entry.subjects.job
        if entry.decision != "accept-order" or entry.outcome == "refused" or entry.subjects.bundle != bundle_id:
            continue
        report = None if job_id is None else _report(party, ingest, link, job_id, bundle_id)
        if job_id is not None:
            yield ProviderReportRead(
                job_id=job_id,
                bundle_id=bundle_id,
                ordered=entry.time,
                outcome=None if report is None else report.outcome,
                told=None if report is None else report.told,
            )


def _report(
    party: Party, ingest: IngestService, link: BrokerLink, job_id: JobId, bundle_id: BundleId
) -> ProviderReport | None:
    try:
        sealed = ingest.provider_report(job_id)
    except NotFoundError:
        return None
    members = link.ask(ListMembers(job_id=job_id), Members)
    return open_provider_report(party, members, bundle_id, sealed)


def open_provider_report(party: Party, members: Members, bundle_id: BundleId, sealed: bytes) -> ProviderReport:
    """(1) It opens under this provider's report key, for this job; (2) the launch that the broker's signed list names
    as the job's parameter server signed it; (3) it is of this job, bundle and provider.

    Raises `AuthenticityError` (1, 2) or `AppraisalError` (3).
    """
    own, job_id = party.identity.signing_key.party, members.job_id
    raw = party.identity.report_key.open(sealed, provider_report_info(job_id, own))  # (1)
    servers = [one.signing_public for one in members.members if one.role == "paramserver"]
    report = open_signed(Signed.decode(raw), ProviderReport, servers)  # (2)
    if (report.job_id, report.bundle_id, report.provider) != (job_id, bundle_id, own):  # (3)
        raise AppraisalError("appraisal.manifest", expected=job_id, seen=report.job_id)
    return report
