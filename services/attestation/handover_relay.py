"""Carries a handover between the doors of two brokers, one attempt at a time (side: host).

Nothing here decides: the giver judges the heir's quote and release, the heir the giver's. What is carried twice, or
half, is refused or asked for again; the points at which a host may die are listed in docs/runbook.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from common.dcap.collateral_name import name_of_quote
from common.messages.evidence import Collateral, DcapQuote, Evidence
from common.messages.handover import (
    MAX_HANDOVER_BYTES,
    AskHandover,
    GiveHandover,
    HandoverGiven,
    HandoverOffer,
    HeirAsked,
    TakeHandover,
)
from common.messages.signed import Signed
from common.untrusted.collateral_service import CollateralService
from common.untrusted.relay import EnclaveRelay
from services.attestation.handover_files import HandoverFiles

GIVE_SECONDS: Final = 180.0
"""To seal and store a whole state, twice."""


class Predecessor(BaseModel):
    """A build whose broker may have sealed the state: launcher settings that run it, and the release that names it."""

    model_config = ConfigDict(frozen=True)

    launcher: Path
    release_file: Path


@dataclass(frozen=True)
class HandoverPlan:
    """From which builds this one takes over, newest first; `release_file` names it.

    `leave_behind`: also without those whose terms do not accept that release.
    """

    predecessors: tuple[Predecessor, ...]
    release_file: Path
    files: HandoverFiles
    collateral: CollateralService | None = None
    leave_behind: bool = False

    def carry(self, giver: EnclaveRelay, heir: EnclaveRelay, giver_release: Path) -> TakeHandover:
        """Have the giver hand over to the heir. Raises the refusal of either: then all of it is to be repeated."""
        release = Signed.decode(self.release_file.read_bytes())
        offer = HandoverOffer.decode(giver.call("handover.offer", b""))
        ask = AskHandover(offer=offer, sealed_key=self.files.read_key(release.digest))
        asked = HeirAsked.decode(heir.call("handover.ask", ask.encode()))
        self.files.keep_key(release.digest, asked.sealed_key)
        request = GiveHandover(
            challenge_id=offer.challenge_id,
            binding=asked.binding,
            evidence=asked.evidence,
            release=release,
            leave_behind=self.leave_behind,
            collateral=self._collateral_for(asked.evidence),
        )
        raw = giver.call("handover.give", request.encode(), seconds=GIVE_SECONDS)
        given = HandoverGiven.decode(raw, limit=MAX_HANDOVER_BYTES)
        return TakeHandover(
            given=given,
            sealed_key=asked.sealed_key,
            release=Signed.decode(giver_release.read_bytes()),
            collateral=self._collateral_for(given.evidence),
        )

    def finish(self, heir: EnclaveRelay, taken: TakeHandover) -> None:
        """Start the heir on what was given; its chain takes the place of the giver's in one step."""
        heir.call("handover.take", taken.encode(), seconds=GIVE_SECONDS)
        self.files.forget(Signed.decode(self.release_file.read_bytes()).digest)

    def _collateral_for(self, evidence: Evidence) -> Collateral | None:
        if self.collateral is None or not isinstance(evidence, DcapQuote):
            return None
        return self.collateral.get(name_of_quote(evidence.quote))
