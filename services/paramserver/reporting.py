"""What owners read while a job runs, and its provider at the end, sealed at one size (side: enclave; ARCHITECTURE,
decisions 10 and 31).

A report is a JobReport padded with spaces (which JSON ignores) to `REPORT_BYTES` and wrapped to the owner's report key,
so the host learns from it nothing but that a round's time is over. The provider's report is padded as far: all jobs
have one, and what it tells beyond the public outcome, if anything, was charged to the owners' data sets in bits.
"""

from dataclasses import dataclass
from typing import Final

from common.crypto.wrapping import WrappingKey, wrap
from common.errors import FormatError
from common.identifiers import Digest, JobId, PartyKey
from common.key_binding import provider_report_info, report_info
from common.key_retrieval import Launch
from common.messages.attestation import DatasetTerms
from common.messages.policy import JobReport
from common.messages.provider_report import Learned, ProviderReport, RefusedCallsTold, ToldToProvider
from common.messages.signed import sign
from common.messages.training_door import SealedReport
from common.refused_calls import RefusedCalls

REPORT_BYTES: Final = 2048
"""Room for every field at its longest, 16 codes and 16 counts of rounds."""


@dataclass(frozen=True)
class ReportReaders:
    """The owners of a job's data and their report keys, each once, in the order of the data sets."""

    order: Digest
    keys: dict[PartyKey, bytes]

    @classmethod
    def of(cls, order: Digest, datasets: tuple[DatasetTerms, ...]) -> "ReportReaders":
        """From the terms of a launch; an owner of several data sets reads with the key of the first."""
        keys: dict[PartyKey, bytes] = {}
        for terms in datasets:
            keys.setdefault(terms.owner_keys[-1], terms.report_key)
        return cls(order, keys)

    def seal(self, job_id: JobId, report: JobReport) -> list[SealedReport]:
        """The report for each owner."""
        padded = pad_report(report)
        return [
            SealedReport(
                job_id=job_id,
                owner=owner,
                sequence=report.sequence,
                sealed=wrap(padded, key, report_info(self.order, owner, report.sequence)),
            )
            for owner, key in self.keys.items()
        ]


def pad_report(report: JobReport) -> bytes:
    """The report's JSON with spaces up to `REPORT_BYTES`."""
    return _padded(report.encode())


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
    padded = _padded(sign(report, launch.signing_key).encode())
    info = provider_report_info(report.job_id, report.provider)
    try:
        return wrap(padded, launch.terms.provider_report_key, info)
    except FormatError:
        return wrap(padded, WrappingKey.generate().public, info)


def _padded(raw: bytes) -> bytes:
    if len(raw) > REPORT_BYTES:
        raise FormatError("format.too_large", expected=f"at most {REPORT_BYTES} bytes", seen=len(raw))
    return raw.ljust(REPORT_BYTES)
