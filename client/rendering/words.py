"""Words that many events share, and the form of a line (side: owner)."""

from rich.panel import Panel

from common.messages.evidence import TrustLevel
from common.messages.provider_report import ToldToProvider

Line = tuple[str, str, str]
"""A mark, a text, a style."""


def told_words(told: ToldToProvider) -> str:
    """What a provider is told of a job."""
    refused = [f"{name} ({level})" for name, level in told.refused if level != "none"]
    return f"{told.learned}; refused calls: {', '.join(refused) or 'none'}"


def trust_line(level: str) -> Line:
    """A trust level below what it is of."""
    simulated = level == TrustLevel.SIMULATION
    words = "SIMULATION: no hardware protects this; whoever runs the host can read it" if simulated else level
    return "trust", words, "bold red" if simulated else "bold green"


def trust_words(level: str) -> Panel:
    """A trust level in words that nobody can overlook."""
    if level == TrustLevel.SIMULATION:
        return Panel(
            "TRUST LEVEL: SIMULATION\nNo hardware protects this. Whoever runs the host can read everything.",
            style="bold white on red",
            expand=False,
        )
    return Panel(f"TRUST LEVEL: {level} (a hardware TEE)", style="bold white on green", expand=False)
