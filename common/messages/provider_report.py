"""What a job's provider reads of it at its end, sealed to its report key at one size (side: library).

Every job that its parameter server ends has one, whatever the owners' policies say, so no host can tell which of them
tell more than the host knows anyway.
"""

from typing import Final, Literal

from common.identifiers import BundleId, JobId, PartyKey
from common.messages.base import Message
from common.refused_calls import Level

Learned = Literal["finished", "finished_short", "failed"]
LEARNED: Final[tuple[Learned, ...]] = ("finished", "finished_short", "failed")
"""Every ordered round was done, some were, none was. The host is told `finished` of all three."""


class RefusedCallsTold(Message):
    """The level of each class (common/refused_calls), joined over trainers and rounds; provider code may falsify it."""

    network: Level
    files: Level
    processes: Level
    namespaces: Level
    tracing: Level
    memory: Level
    other: Level


class ToldToProvider(Message):
    """All that provider code can influence in its provider's report: one of `CHOICES` times three values."""

    learned: Learned
    refused: RefusedCallsTold


class ProviderReport(Message):
    """Signed by the launch of the parameter server that ended the job, then wrapped (docs/formats.md, section 17).

    `outcome` is the public one. `told` is null unless every owner's policy lets it be known (`refusal_report`).
    """

    type: Literal["provider-report"] = "provider-report"
    version: Literal[1] = 1
    job_id: JobId
    bundle_id: BundleId
    provider: PartyKey
    outcome: Literal["finished", "failed", "cancelled"]
    told: ToldToProvider | None
