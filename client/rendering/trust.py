"""Events of what a party trusts as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from datetime import UTC, datetime

from client import events as e
from client.rendering.words import Line
from common.messages.evidence import TrustLevel

TrustTold = e.RoleMeasured | e.SigstructRead | e.QuoteVerified | e.CollateralSeen | e.HostProfileMade | e.Verified


def trust_lines(event: TrustTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.RoleMeasured():
            verdict = "" if event.released is None else f"  BUT the release says {event.released}"
            if event.released == event.mr_enclave:
                verdict = "  = release"
            platform = "" if event.platform == TrustLevel.SIMULATION else f"  on {event.platform}"
            yield "measured", f"{event.role:<12} {event.mr_enclave}{platform}{verdict}", ""
        case e.SigstructRead():
            yield "enclave", f"{event.mr_enclave}  {event.file}", ""
            yield "signer", f"{event.mr_signer}  product {event.isv_prod_id}, security version {event.isv_svn}", ""
            if event.debug:
                yield "DEBUG", "whoever runs the host reads such an enclave's memory", "bold white on red"
        case e.QuoteVerified():
            words = f"quote of the {event.role} enclave {event.measurement[:16]}... ({event.trust_level})"
            yield "verified", words, "green"
        case e.CollateralSeen():
            day = datetime.fromtimestamp(event.issued, UTC).date()
            until = datetime.fromtimestamp(event.next_update, UTC).date()
            numbers = f"TCB evaluation {event.tcb_evaluation}, of the QE {event.qe_evaluation}"
            yield "collateral", f"{event.name}  FMSPC {event.fmspc}  {numbers}", ""
            style = "" if event.current else "bold red"
            words = "" if event.current else "  OVERDUE: quotes that need it are refused"
            yield "", f"issued {day}, next update {until}{words}", style
            yield "", f"{event.age_seconds / 86_400:.1f} days old, from {event.source}", ""
        case e.HostProfileMade():
            yield "profile", f"{event.name} {event.number}  {event.digest}", "bold"
            yield "files", f"{event.files:,}, in {event.place}", ""
            yield "signed by", event.signer, ""
        case e.Verified():
            for check in event.checks:
                yield "ok", check, "green"
            yield "verified", event.subject, "bold green"
