"""The demo's figures as a table (side: owner)."""

from rich.table import Table

from client import events as e
from common.messages.evidence import TrustLevel


def figures_table(event: e.DemoFinished) -> Table:
    """The demo's last word."""
    table = Table(title="One job, from sealed data to sealed answers", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "trust level",
        f"{event.trust_level.upper()}"
        + (" - no hardware protects this run" if event.trust_level == TrustLevel.SIMULATION else ""),
        style="red",
    )
    table.add_row("quotes verified by the parties", str(event.quotes_verified))
    for service, count in event.ciphertext_bytes.items():
        table.add_row(f"{service.replace('_', ' ')} saw", f"{count:,} bytes")
    if event.ciphertext_bytes:  # a stack elsewhere says it to its own machine alone
        table.add_row("", "of ciphertext and the public documents around it, as the host's own processes count them")
    table.add_row(
        "frames, as the enclave counted them",
        f"{event.real_frames:,} real, {event.dummy_frames:,} dummy "
        "(one size, one rate: the host can't tell them apart)",
    )
    table.add_row("accuracy of the sealed model", f"{event.accuracy_sealed:.4f}  ({event.trainers} trainers)")
    table.add_row("accuracy in plain torch", f"{event.accuracy_plain:.4f}  (same code, same rows)")
    table.add_row("wall time", f"{event.wall_seconds:.1f} s")
    return table
