"""One error tree: a class for each different *reaction* of a caller (side: library).

    CloisterError
      Refusal              the request is not granted; somebody can mend it (see common/refusals.py)
        FormatError        the bytes are not of the stated format: make them anew
        AuthenticityError  signature, AEAD tag or quote is not authentic: treat the sender as hostile
        FreshnessError     spent, stale, expired, replayed or rewound: ask for a fresh one
        AppraisalError     authentic, but not what the reference values or the binding demand
        PolicyError        a party's terms do not allow it
        QuotaError         a limit set by the operator is reached
        NotFoundError      no such thing, or not for this party (never told apart)
        ConflictError      it contradicts something that was accepted before
      UnavailableError     a part it needs is down, frozen or full: try again later
      ConfinementError     this machine cannot confine provider code: nothing runs
      PeerClosedError      the other end of a door or channel is gone

`str(error)` is the public code and the way to mend it, safe to log and to show to anybody. `expected` and `seen` may
speak of a party's content: they are shown on that party's own machine, or sealed to it, and never logged by a host.
Misuse of our own functions is a `RuntimeError` or `ValueError`, not one of these.
"""

from common.refusals import REFUSALS


class CloisterError(Exception):
    """Base of every error that Cloister raises on purpose."""


class Refusal(CloisterError):
    """A request that is not granted.

    `code` must stand in `common.refusals.REFUSALS`, which says who can mend it and how.
    """

    http_status = 400

    def __init__(self, code: str, *, expected: object = None, seen: object = None) -> None:
        if code not in REFUSALS:
            raise RuntimeError(f"refusal code {code!r} is not in the table of common/refusals.py")
        self.code = code
        self.mender, self.mend = REFUSALS[code]
        self.expected = None if expected is None else str(expected)
        self.seen = None if seen is None else str(seen)
        super().__init__(f"{code}: {self.mender} can mend it: {self.mend}")

    def in_full(self) -> str:
        """Code, mender, mend, expected and seen: only for the party entitled to them."""
        parts = [str(self)]
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.seen is not None:
            parts.append(f"seen: {self.seen}")
        return "; ".join(parts)


class FormatError(Refusal):
    """The bytes are not of the stated format."""


class AuthenticityError(Refusal):
    """A signature, AEAD tag or quote is not authentic."""

    http_status = 403


class FreshnessError(Refusal):
    """Spent, stale, expired, replayed or rewound."""

    http_status = 409


class AppraisalError(Refusal):
    """Authentic, but not what the reference values or the binding demand."""

    http_status = 403


class PolicyError(Refusal):
    """A party's terms do not allow it."""

    http_status = 403


class QuotaError(Refusal):
    """A limit set by the operator is reached."""

    http_status = 413


class NotFoundError(Refusal):
    """No such thing, or not for this party: the two are never told apart."""

    http_status = 404


class ConflictError(Refusal):
    """It contradicts something that was accepted before."""

    http_status = 409


class UnavailableError(Refusal):
    """A part that the request needs is down, frozen or full."""

    http_status = 503


class ConfinementError(Refusal):
    """This machine cannot confine provider code, so none is run."""

    http_status = 503


class PeerClosedError(CloisterError):
    """The other end of a door or channel is gone."""


def refusal_of(code: str, *, expected: object = None, seen: object = None) -> Refusal:
    """Rebuild the error that a service or enclave answered with, from its public code.

    A code that is not in the table comes from a peer of another version: it reads as `unavailable.enclave`.
    """
    if code not in REFUSALS:
        return UnavailableError("unavailable.enclave")
    for kind in (
        FormatError,
        AuthenticityError,
        FreshnessError,
        AppraisalError,
        PolicyError,
        QuotaError,
        NotFoundError,
        ConflictError,
        UnavailableError,
        ConfinementError,
    ):
        if code.split(".", 1)[0] in _FAMILIES[kind]:
            return kind(code, expected=expected, seen=seen)
    return Refusal(code, expected=expected, seen=seen)


_FAMILIES: dict[type[Refusal], frozenset[str]] = {
    FormatError: frozenset({"format"}),
    AuthenticityError: frozenset({"authenticity"}),
    FreshnessError: frozenset({"freshness"}),
    AppraisalError: frozenset({"appraisal"}),
    PolicyError: frozenset({"policy"}),
    QuotaError: frozenset({"quota"}),
    NotFoundError: frozenset({"not_found"}),
    ConflictError: frozenset({"conflict"}),
    UnavailableError: frozenset({"unavailable"}),
    ConfinementError: frozenset({"confinement"}),
}
