"""What the owners read while a job runs, sealed to each at one size (side: enclave; ARCHITECTURE, decision 10).

A report is a JobReport padded with spaces (which JSON ignores) to `REPORT_BYTES` and wrapped to the owner's report key,
so the host learns from it nothing but that a round's time is over.
"""

from dataclasses import dataclass
from typing import Final

from common.crypto.wrapping import wrap
from common.errors import FormatError
from common.identifiers import Digest, JobId, PartyKey
from common.key_binding import report_info
from common.messages.attestation import DatasetTerms
from common.messages.policy import JobReport
from common.messages.training_door import SealedReport

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
    raw = report.encode()
    if len(raw) > REPORT_BYTES:
        raise FormatError("format.too_large", expected=f"at most {REPORT_BYTES} bytes", seen=len(raw))
    return raw.ljust(REPORT_BYTES)
