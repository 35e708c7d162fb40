"""How many older things a service was shown again, and which of them it took (side: library)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.errors import Refusal


@dataclass
class Tally:
    """What came of a scene. `accepted` says what was believed; `odd` what was refused, but not for being old."""

    tried: int = 0
    accepted: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def refuses(self, what: str, code: str, show: Callable[..., object], *shown: object) -> None:
        """`show(*shown)` must be refused, with this code."""
        self.tried += 1
        try:
            show(*shown)
        except Refusal as refusal:
            if refusal.code != code:
                self.odd.append(f"{what}: {refusal.code}")
        else:
            self.accepted.append(what)

    def unmoved(self, what: str, state: Callable[[], object], show: Callable[..., object], *shown: object) -> None:
        """`show(*shown)` may give the answer that was given before: `state()` must be what it was."""
        self.tried += 1
        before = state()
        show(*shown)
        if state() != before:
            self.accepted.append(what)

    def counted(self, what: str, tried: int, refused: int) -> None:
        """So many frames at once, of which so many were counted as refused."""
        self.tried += tried
        self.accepted += [what] * (tried - refused)
