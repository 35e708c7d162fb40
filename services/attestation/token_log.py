"""Every token is in the decision log, and nobody fills it with tokens (side: enclave).

A token that leaves is an entry: the digest of the token, the launch, its role, slot, attempt and measurement, the quote
where one was shown, and the key that signed. Whoever is shown a token finds it there, and owners see what was said of
their jobs' enclaves. Tokens that an admitted launch has in each window are entered one by one up to `TOKENS_KEPT`, one
for every two minutes of it, and so are those that are given on fresh evidence, of each job and role. Further ones are
issued as well, and counted (`open_counts`), but for one whose evidence brought newer collateral, which is entered with
what is to be remembered of it; and all are counted while too much is unconfirmed.
"""

from typing import Final

from services.attestation.collateral import KnownCollateral
from services.attestation.decision_log import Decision
from services.attestation.open_counts import KINDS_KEPT, WINDOW_SECONDS, OpenCounts, kind_of
from services.attestation.state import BrokerState
from services.attestation.state_anchor import StateAnchor

TOKENS_KEPT: Final = 30


class TokenLog:
    """Which tokens were entered in the windows that last. What it remembers ends with the epoch."""

    def __init__(
        self, state: BrokerState, anchor: StateAnchor, counts: OpenCounts, collateral: KnownCollateral
    ) -> None:
        self._state, self._anchor, self._counts, self._collateral = state, anchor, counts, collateral
        self._windows: dict[Decision, tuple[int, int]] = {}

    def note(self, decision: Decision, at: int) -> None:
        """Enter a token that is issued, or count it."""
        within = self._is_within(kind_of(decision), at)
        if self._anchor.has_room and (within or self._collateral.has_newer):
            self._state.commit(decision, at)
        else:
            self._counts.add(decision, at)

    def _is_within(self, kind: Decision, at: int) -> bool:
        if kind not in self._windows and len(self._windows) >= KINDS_KEPT:
            self._windows = {one: window for one, window in self._windows.items() if not _is_over(window, at)}
        window = self._windows.get(kind, (at, 0))
        begun, entered = (at, 0) if _is_over(window, at) else window
        self._windows[kind] = (begun, entered + 1)
        return entered < TOKENS_KEPT


def _is_over(window: tuple[int, int], at: int) -> bool:
    return at >= window[0] + WINDOW_SECONDS
