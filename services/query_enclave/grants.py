"""Who may ask this model what, and how much of it is left (side: enclave).

A grant is judged when a session opens; each check raises and none can be skipped:
  (1) every grant authority of the placement signed it (with several owners: all of them);
  (2) it names the user who signed the opening;
  (3) it names this model and its manifest, or a name, and this broker and release;
  (4) its time is not over, as far as this enclave knows the time (a lower bound).
The broker judges it again, with both parties' terms and revocations, at every block that is drawn; whether a name
stands for this model is its word alone.

Budgets: a block is spent when the broker hands it out, so a crash wastes answers and never regains them. Who asks so
often that blocks last for moments gets larger ones, and the next before one is used up: a draw takes the broker, its
witnesses and some 20 ms. How large a block is hangs on when blocks were drawn, which the host sees. An answer is
charged before provider code sees the row, and stays charged if that code fails: refunds would be one bit each. A block
says how much its answers may tell, and how many queries a user may ask in a minute: what the grant says, or less where
a policy or the provider's terms allow less.

What the broker said of a grant counts for one lease, by this enclave's monotonic clock, from *before* it was asked:
so a grant that is revoked ends where leases end. What is left of a block then waits for a block of no answers, by which
the broker says anew that all its checks hold; refused, it stays charged and unused.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from common.errors import AppraisalError, FreshnessError, PolicyError, UnavailableError
from common.identifiers import Digest, ModelId, PartyKey
from common.messages.answer_bounds import AnswerBounds
from common.messages.budget import BudgetBlock
from common.messages.placement import Placement
from common.messages.policy import AnswerDetail, QueryGrant
from common.messages.signed import Signed, open_signed
from services.query_enclave.blocks import BLOCK_ANSWERS, Account
from services.query_enclave.rates import QueryRates

AHEAD_THREADS: Final = 2

Now = Callable[[], int]


@dataclass(frozen=True)
class Placed:
    """What the broker placed here, and under which document."""

    placement: Placement
    document: Digest
    broker: PartyKey

    @property
    def model_id(self) -> ModelId:
        """The one model of this launch."""
        return self.placement.model_id

    @property
    def manifest(self) -> Digest:
        """Digest of the model's signed manifest."""
        return self.placement.manifest


def judge_grant(signed: Signed, user: PartyKey, placed: Placed, at: int) -> QueryGrant:
    """The grant, if `user` may use it here at time `at`.

    Raises `AuthenticityError` or `FormatError` (1), `PolicyError` (2), `AppraisalError` (3), `FreshnessError` (4).
    """
    authorities = placed.placement.grant_authorities
    grant = open_signed(signed, QueryGrant, authorities, threshold=max(1, len(set(authorities))))  # (1)
    if grant.user != user:  # (2)
        raise PolicyError("policy.grant", expected=f"a session of user {grant.user}", seen=user)
    here = (placed.model_id, placed.manifest, placed.broker, placed.placement.release)
    model = here[:2] if grant.served is not None else (grant.model_id, grant.manifest)
    named = (*model, grant.broker, grant.release)
    if named != here:  # (3)
        raise AppraisalError("appraisal.placement", expected=" ".join(map(str, named)), seen=" ".join(here))
    require_current(grant, at)  # (4)
    return grant


def require_current(grant: QueryGrant, at: int) -> None:
    """Raise `FreshnessError` (freshness.grant) when the grant's time is over."""
    if at > grant.not_after:
        raise FreshnessError("freshness.grant", expected=f"a grant valid at {at}", seen=f"until {grant.not_after}")


class BudgetSource(Protocol):
    """The broker, as far as budgets go."""

    def draw(self, grant: Signed, answers: int) -> BudgetBlock:
        """At most `answers` answers under `grant`, 0 to hear whether it still holds; raises the broker's refusal."""
        ...


@dataclass(frozen=True)
class Charge:
    """What a charge leaves in all, and how much the answers that it pays for may tell."""

    left: int
    detail: AnswerDetail
    bounds: AnswerBounds


class GrantBudgets:
    """The blocks that this launch holds, by grant; shared by all sessions under one grant.

    `lease_seconds` are those of the launch's terms.
    """

    def __init__(
        self, source: BudgetSource, lease_seconds: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._source, self._lease_seconds, self._monotonic = source, lease_seconds, monotonic
        self._lock = threading.Lock()
        self._accounts: dict[bytes, Account] = {}
        self._rates = QueryRates(monotonic)
        self._ahead = ThreadPoolExecutor(max_workers=AHEAD_THREADS, thread_name_prefix="draw-ahead")

    def take(self, grant: Signed, user: PartyKey, rows: int, wanted: int) -> Charge:
        """Charge `rows` answers to `user`, or keep what is left: also where it does not cover the `wanted`, with these.

        Every block is the broker's word about all that is held under the grant. Raises `PolicyError` (policy.budget),
        `UnavailableError` (unavailable.rate) or the broker's refusal.
        """
        account = self._account(grant)
        with account.drawing, account.lock:
            if not self._is_held(account, rows, wanted):
                self._draw_for(account, grant, rows, wanted)
            return self._charge(account, user, rows)

    def take_held(self, grant: Signed, user: PartyKey, rows: int, wanted: int) -> Charge | None:
        """As `take` where that takes no word of the broker, at once; None where it does, or may.

        Charges nothing then. Raises `UnavailableError` (unavailable.rate).
        """
        account = self._account(grant)
        if not account.lock.acquire(blocking=False):
            return None
        try:
            if not self._is_held(account, rows, wanted):
                return None
            charge = self._charge(account, user, rows)
            if account.begins_ahead(self._monotonic()):
                self._ahead.submit(self._draw_ahead, account, grant)
            return charge
        finally:
            account.lock.release()

    def left(self, grant: Signed) -> int:
        """Answers left as far as this launch knows; 0 before the first block."""
        return self._account(grant).left

    def _charge(self, account: Account, user: PartyKey, rows: int) -> Charge:
        told = account.terms_of(rows)
        self._rates.admit(user, told.bounds.queries_per_minute)
        account.spend(rows)
        return Charge(account.left, told.detail, told.bounds)

    def _is_held(self, account: Account, rows: int, wanted: int) -> bool:
        return account.held >= rows and account.left >= wanted and self._monotonic() < account.until

    def _draw_for(self, account: Account, grant: Signed, rows: int, wanted: int) -> None:
        """Ask the broker so that `rows` are held and `wanted` are left; raises where they are not."""
        if account.held < rows:
            self._draw(account, grant, max(rows, account.next_block(self._monotonic())))
        elif self._monotonic() >= account.until:
            self._draw(account, grant, 0)
        elif account.left < wanted and account.held < BLOCK_ANSWERS:
            with contextlib.suppress(PolicyError):  # more may have been allowed since the last block
                self._draw(account, grant, BLOCK_ANSWERS)
        if account.held < rows or account.left < wanted:
            raise PolicyError("policy.budget", expected=f"at most {account.left} rows", seen=f"{wanted} rows")

    def _draw(self, account: Account, grant: Signed, answers: int) -> None:
        asked_at = self._monotonic()
        account.add(self._source.draw(grant, answers), asked_at, self._lease_seconds)

    def _draw_ahead(self, account: Account, grant: Signed) -> None:
        """The next block, while this one is used.

        Where the broker is away, it is asked again a while later. Where it refuses, nothing that is held is given
        before it was asked again: whoever comes next hears why.
        """
        try:
            with account.drawing:
                asked_at = self._monotonic()
                block = self._source.draw(grant, account.next_block(asked_at))
                with account.lock:
                    account.add(block, asked_at, self._lease_seconds)
        except UnavailableError:
            account.pause_ahead(self._monotonic())
        except Exception:
            account.pause_ahead(self._monotonic())
            with account.lock:
                account.until = -math.inf
        finally:
            account.is_drawn_ahead = False

    def _account(self, grant: Signed) -> Account:
        """By the grant's payload, which names it as its digest does."""
        with self._lock:
            account = self._accounts.get(grant.payload)
            if account is None:
                account = self._accounts[grant.payload] = Account()
            return account
