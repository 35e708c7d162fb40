"""Whoever shows events, and events for a program (side: owner)."""

import json
from typing import Protocol

from client import events as e
from common.errors import CloisterError, Refusal


class Show(Protocol):
    """Whoever wants to see events."""

    def show(self, event: e.Event) -> None:
        """One event, when it happens."""

    def refused(self, error: CloisterError) -> None:
        """The operation ended in a refusal."""

    def close(self) -> None:
        """No more events."""


class JsonLines:
    """One JSON object a line on stdout, refusals included: `{"type": "refused", "code": ..., ...}`."""

    def show(self, event: e.Event) -> None:
        """The event as it is."""
        print(event.encode().decode(), flush=True)

    def refused(self, error: CloisterError) -> None:
        """Code, mender, mend; expected and seen are the party's own, on its own machine."""
        fields = {"type": "refused", "text": str(error)}
        if isinstance(error, Refusal):
            fields |= {"code": error.code, "mender": error.mender, "mend": error.mend}
            fields |= {"expected": error.expected or "", "seen": error.seen or ""}
        print(json.dumps(fields, ensure_ascii=False, separators=(",", ":")), flush=True)

    def close(self) -> None:
        """Nothing is pending."""
