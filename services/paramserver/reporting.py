"""What owners read while a job runs, and its provider at the end, sealed at one size (side: enclave; ARCHITECTURE,
decisions 10 and 31).

A report is a JobReport padded with spaces (which JSON ignores) to `report_bytes` and wrapped to the owner's report key,
so the host learns from it nothing but that a round's time is over. The provider's report is padded to `REPORT_BYTES`:
all jobs have one, and what it tells beyond the public outcome, if anything, was charged to the owners' data sets in
bits.
"""

from dataclasses import dataclass

from common.crypto.wrapping import WrappingKey, wrap
from common.errors import FormatError
from common.exchange.schedule import REPORT_BYTES, report_bytes
from common.identifiers import Digest, JobId, PartyKey
from common.key_binding import provider_report_info, report_info
from common.key_retrieval import Launch
from common.messages.launch_terms import DatasetTerms
from common.messages.policy import JobReport
from common.messages.provider_report import Learned, ProviderReport, RefusedCallsTold, ToldToProvider
from common.messages.signed import sign
from common.messages.training_door import SealedReport
from common.refused_calls import RefusedCalls


@dataclass(frozen=True)
class ReportReaders:
    """The owners of a job's data and their report keys, each once, in the order of the data sets."""

    order: Digest
    trainers: int
    keys: dict[PartyKey, bytes]

    @classmethod
    def of(cls, order: Digest, trainers: int, datasets: tuple[DatasetTerms, ...]) -> "ReportReaders":
        """From the terms of a launch; an owner of several data sets reads with the key of the first."""
        keys: dict[PartyKey, bytes] = {}
        for terms in datasets:
            keys.setdefault(terms.owner_keys[-1], terms.report_key)
        return cls(order, trainers, keys)

    def seal(self, job_id: JobId, report: JobReport) -> list[SealedReport]:
        """The report for each owner."""
        padded = _padded(report.encode(), report_bytes(self.trainers))
        return [
            SealedReport(
                job_id=job_id,
                owner=owner,
                sequence=report.sequence,
                sealed=wrap(padded, key, report_info(self.order, owner, report.sequence)),
            )
            for owner, key in self.keys.items()
        ]


def provider_report(launch: Launch, outcome: str, learned: Learned, refused: RefusedCalls) -> ProviderReport:
    """What the provider is told of a job that ended with this public outcome.

    How much of it is learned and refused says nothing of a job that did not run to its end, or without leave.
    """
    terms, tells = launch.terms, outcome == "finished" and launch.terms.refusal_report == "classes"
    told = ToldToProvider(learned=learned, refused=RefusedCallsTold.model_validate(refused.words)) if tells else None
    named = {"job_id": terms.job_id, "bundle_id": terms.bundle_id, "provider": terms.provider}
    return ProviderReport.model_validate(named | {"outcome": outcome, "told": told})


def seal_provider_report(launch: Launch, report: ProviderReport) -> bytes:
    """Signed by this launch and wrapped; where the provider's report key is none, to a key that nobody has."""
    padded = _padded(sign(report, launch.signing_key).encode(), REPORT_BYTES)
    info = provider_report_info(report.job_id, report.provider)
    try:
        return wrap(padded, launch.terms.provider_report_key, info)
    except FormatError:
        return wrap(padded, WrappingKey.generate().public, info)


def _padded(raw: bytes, size: int) -> bytes:
    if len(raw) > size:
        raise FormatError("format.too_large", expected=f"at most {size} bytes", seen=len(raw))
    return raw.ljust(size)
