"""What a user's session with one query enclave says and hears, without any I/O (side: owner: the user's machine).

Each operation is a generator: it yields a `Get`, a `Post` or a `Pause`, gets the body of the answer or the refusal that
came instead, and returns what it was asked for. client/query_session performs them one after the other,
client/async_query_session beside other tasks; both run this code.

A connection asks for a proof, verifies it (client/query_verification), wraps a fresh session key to that launch and
signs the opening. A query that stays without an answer is sent again as the very same bytes: the enclave evaluates and
charges it once. One that the enclave could not charge, because the key broker was away or this minute's queries are
used up, is asked anew. When the enclave was started anew, its sessions are gone: the next proof is verified like the
first one, a new session opened and the question asked there. If the old launch had charged it already, it is charged
twice. So it goes, too, where too many questions wait for this launch and another serves the same model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.query_channel import Channel, QueryUser, open_channel
from client.query_steps import Exchange, Get, Post, patiently, repeat
from client.receipts import ReceiptBook
from common.errors import AuthenticityError, FormatError, FreshnessError, PolicyError, Refusal, UnavailableError
from common.identifiers import QueryId
from common.messages.placement import QueryEnclaveProof
from common.messages.query_batch import QuerySubmitted, decode_answers, most_queries
from common.messages.query_tensors import Answer, decode_outcome, encode_question

NOT_CHARGED: Final = frozenset({"unavailable.broker", "unavailable.frozen", "unavailable.rate"})
"""Sealed refusals of a question that the enclave could not charge to the grant's budget yet."""

Rows = NDArray[np.generic]


@dataclass(frozen=True)
class Asked:
    """A question as it was sealed for one channel, to be sent any number of times; `book` keeps a receipt."""

    channel: Channel
    question: bytes
    query: bytes
    book: ReceiptBook | None


@dataclass(frozen=True)
class Submitted:
    """A question whose answer is asked for later, under the name that the front gave it."""

    asked: Asked
    query_id: QueryId


@dataclass(frozen=True)
class Group:
    """The rows of several queries that go together; with `wanted`, of one that is judged for so many rows in all."""

    pieces: tuple[Rows, ...]
    wanted: int | None = None


class QueryExchange:
    """Sealed questions and answers. Several operations may be under way at one time."""

    def __init__(self, user: QueryUser, now: Callable[[], float]) -> None:
        self._user, self._now = user, now
        self.path = f"/v1/models/{user.named.model_id}"
        self._counters = count()
        self._channel: Channel | None = None
        self.quotes_verified = 0

    @property
    def channel(self) -> Channel:
        """The session that is open; before `connect` a `RuntimeError`."""
        if self._channel is None:
            raise RuntimeError("a session is opened before it is used")
        return self._channel

    def connect(self) -> Exchange[None]:
        """A channel into a live launch: one that ended since its proof was made can't open our key, so ask again."""
        self._channel = yield from repeat(
            lambda: open_channel(self._user, self.path, self._now, self._count_quote),
            lambda refusal: refusal.code == "authenticity.wrapped_key",
        )

    def _count_quote(self) -> None:
        self.quotes_verified += 1

    def receipt_book(self) -> ReceiptBook:
        """An empty one, for `ask` and `ask_all`."""
        return ReceiptBook(self._user.key, self._user.grant, self._user.pins)

    def ask(self, rows: Rows, wanted: int | None = None, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """The model's answer to 1 to `profile.max_rows` rows, if the grant covers all that are `wanted`, with these.

        With a `book`, a receipt is asked for, and kept there.
        Raises `FormatError` (format.query) before anything is sent, or the refusal that the enclave sealed for us.
        """
        return (
            yield from repeat(
                lambda: self._ask_here_or_anew(rows, wanted, book), lambda refusal: refusal.code in NOT_CHARGED
            )
        )

    def ask_all(self, rows: Rows, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """The answers to any number of rows, in as many queries as it takes; costs one answer for each row.

        With a `book`, it keeps a receipt of each query that was answered, also where a later one fails.
        Raises `FormatError` (format.query) without rows, and `PolicyError` (policy.budget) if the grant does not cover
        all of them: then the enclave answers none, and none is charged.
        """
        answers = list[Answer]()
        for group in self.in_groups(rows):
            answers += ((yield from self.ask_group(group, book)),)
        return joined(answers)

    def in_groups(self, rows: Rows) -> list[Group]:
        """As many rows as one request may ask about, one group after the other; the first one stands for all of them.

        Raises `FormatError` (format.query) and `PolicyError` (policy.budget), as far as that is known without asking.
        """
        if rows.ndim == 0 or not len(rows):
            raise FormatError("format.query", expected="at least one row", seen=f"{rows.dtype} of shape {rows.shape}")
        granted = self._user.terms.answers
        if len(rows) > granted:  # before anything is sent
            raise PolicyError("policy.budget", expected=f"at most {granted} rows", seen=f"{len(rows)} rows")
        profile = self.channel.profile
        pieces = [rows[at : at + profile.max_rows] for at in range(0, len(rows), profile.max_rows)]
        step = most_queries(profile.query_bytes)
        later = [Group(tuple(pieces[at : at + step])) for at in range(1, len(pieces), step)]
        return [Group((pieces[0],), len(rows)), *later]

    def ask_group(self, group: Group, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """The answers to a group's rows: those of several queries in one request."""
        if group.wanted is not None:
            return (yield from self.ask(group.pieces[0], group.wanted, book))
        return joined((yield from self._ask_batch(group.pieces, book)))

    def submit(self, rows: Rows) -> Exchange[Submitted]:
        """Ask as `ask` does, and do not wait for the answer."""
        asked = self._seal(rows, None)
        body = yield from patiently(Post(f"{self.path}/submissions{asked.channel.route}", asked.query))
        return Submitted(asked, QuerySubmitted.decode(body).query_id)

    def collect(self, submitted: Submitted) -> Exchange[Answer | None]:
        """The answer, or None as long as there is none. As often as wanted, within two minutes.

        Raises what `ask` raises, and `FreshnessError` (freshness.session) when the launch that was asked is gone: then
        the rows are submitted again.
        """
        model_id = submitted.asked.channel.enclave.placement.model_id
        sealed = yield from patiently(Get(f"/v1/models/{model_id}/submissions/{submitted.query_id}"))
        return _opened(submitted.asked, sealed) if sealed else None

    def _ask_here_or_anew(self, rows: Rows, wanted: int | None, book: ReceiptBook | None) -> Exchange[Answer]:
        asked = self._seal(rows, wanted, book)
        try:
            return _opened(asked, (yield from self._carry(asked)))
        except FreshnessError as refusal:
            if refusal.code != "freshness.session":
                raise
        if self._channel is asked.channel:  # else another question has found that it is over
            yield from self.connect()
        asked = self._seal(rows, wanted, book)
        return _opened(asked, (yield from patiently(Post(f"{self.path}/queries{asked.channel.route}", asked.query))))

    def _carry(self, asked: Asked) -> Exchange[bytes]:
        """The sealed answer; the same bytes are sent as often as it takes.

        Raises `FreshnessError` (freshness.session), too, where too many wait for this launch and the front names
        another: then the session is left as though it were over. What was refused so was not evaluated.
        """

        def send() -> Exchange[bytes]:
            try:
                return (yield Post(f"{self.path}/queries{asked.channel.route}", asked.query))
            except UnavailableError as refusal:
                if refusal.code == "unavailable.full" and (yield from self._is_another(asked.channel)):
                    raise FreshnessError("freshness.session") from refusal
                raise

        return (yield from repeat(send, lambda refusal: isinstance(refusal, UnavailableError)))

    def _is_another(self, channel: Channel) -> Exchange[bool]:
        """Whether new sessions are opened with another launch than this one."""
        try:
            proof = QueryEnclaveProof.decode((yield Get(f"{self.path}/proof")))
        except UnavailableError:
            return False
        return proof.binding.signing_public != channel.enclave.placement.launch

    def _ask_batch(self, pieces: Sequence[Rows], book: ReceiptBook | None) -> Exchange[list[Answer]]:
        """In one request; what comes back without an answer is asked alone, as the same bytes if these may serve."""
        asked = [self._seal(rows, None, book) for rows in pieces]
        body = yield from patiently(
            Post(f"{self.path}/batches{asked[0].channel.route}", b"".join(one.query for one in asked))
        )
        answers = []
        for rows, one, sealed in zip(pieces, asked, decode_answers(body, len(asked)), strict=True):
            answers.append((yield from self._settle(rows, one, sealed)))
        return answers

    def _settle(self, rows: Rows, asked: Asked, sealed: bytes | Refusal) -> Exchange[Answer]:
        try:
            if isinstance(sealed, UnavailableError):
                sealed = yield from self._carry(asked)
            if isinstance(sealed, Refusal):
                raise sealed
            return _opened(asked, sealed)
        except (FreshnessError, UnavailableError) as refusal:
            if refusal.code != "freshness.session" and refusal.code not in NOT_CHARGED:
                raise
        return (yield from self.ask(rows, None, asked.book))

    def _seal(self, rows: Rows, wanted: int | None, book: ReceiptBook | None = None) -> Asked:
        channel = self.channel
        question = encode_question(rows, channel.profile, wanted, receipt=book is not None)
        return Asked(channel, question, channel.cipher.seal_query(next(self._counters), question), book)


def _opened(asked: Asked, answer: bytes) -> Answer:
    profile = asked.channel.profile
    if len(answer) != profile.answer_bytes:
        raise AuthenticityError("authenticity.query", expected=f"{profile.answer_bytes} bytes", seen=len(answer))
    outcome = asked.channel.cipher.open_answer(asked.query, answer)
    told = replace(decode_outcome(outcome, profile), model_id=asked.channel.enclave.placement.model_id)
    if asked.book is not None:
        asked.book.take(asked.channel.enclave, profile, asked.question, outcome, told)
    return told


def joined(answers: Sequence[Answer]) -> Answer:
    """One answer to all rows; what is left is the least that any of them says, for they may be charged in any order.

    Its model is none where several have answered.
    """
    models = {one.model_id for one in answers}
    scores = [one.scores for one in answers if one.scores is not None]
    return Answer(
        np.concatenate([one.labels for one in answers]),
        np.concatenate(scores) if scores else None,
        min(one.answers_left for one in answers),
        model_id=models.pop() if len(models) == 1 else None,
    )
