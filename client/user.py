"""What a user does: verify the query enclave, ask sealed questions, open sealed answers (side: owner: user's machine).

Quote, placement and manifest are verified here before anything is sealed (client/query_verification has the checks).
The owner's grant says which model, under which broker and release; this user's pins say whom to believe.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.broker import trust_floor
from client.context import Party
from client.events import Answered, Event, QuoteVerified
from client.http_client import ServiceClient
from client.plain_arrays import UNREADABLE
from client.query_session import QueryPins, QuerySession, QueryUser
from common.errors import AppraisalError, FormatError
from common.messages.policy import QueryGrant
from common.messages.signed import Signed, open_signed


def open_session(party: Party, grant: Signed) -> QuerySession:
    """Verify the query enclave and open a session with it.

    Raises `AppraisalError` when the grant is for another broker than the pinned one, `AuthenticityError` when none of
    the model's grant authorities signed it, and what `client.query_verification` raises.
    """
    trust, terms = party.trust, QueryGrant.decode(grant.payload)
    if terms.broker != trust.broker.signing_public:
        raise AppraisalError("appraisal.pin", expected=trust.broker.signing_public, seen=terms.broker)
    key = party.identity.signing_key
    pins = QueryPins(trust.release, trust.trust_settings, trust_floor(party))
    session = QuerySession.open(ServiceClient(party.endpoints.query, key), QueryUser(key, grant, pins))
    open_signed(grant, QueryGrant, session.enclave.placement.grant_authorities)
    return session


def query(party: Party, grant: Signed, rows: NDArray[Any]) -> Iterator[Event]:
    """Ask the granted model about rows of its input's shape and type. Ends with `Answered`.

    Raises what `open_session` raises, and the refusals that the enclave sealed for this user.
    """
    session = open_session(party, grant)
    yield QuoteVerified(role="query", measurement=session.enclave.measurement, trust_level=session.enclave.trust_level)
    answer = session.ask_all(rows)
    queries = -(-len(rows) // session.profile.max_rows)
    yield Answered(
        rows=len(rows),
        labels=tuple(int(label) for label in answer.labels),
        answers_left=answer.answers_left,
        queries=queries,
        answered_by=session.profile.answered_by,
        sent_bytes=queries * session.profile.query_bytes,
        received_bytes=queries * session.profile.answer_bytes,
        trust_level=session.enclave.trust_level,
        witnessed=session.enclave.placement.witnessed,
    )


def read_rows(source: Path, column: str | None = None) -> NDArray[Any]:
    """The rows to ask about: an NPY array, or a column of an NPZ file (its only one, unless named).

    Raises `FormatError` (format.query).
    """
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files if column is None else [column]
            if len(names) != 1:
                raise FormatError("format.query", expected="`--column` with one of the file's columns", seen=names)
            rows: NDArray[Any] = loaded[names[0]]
            return rows
    except (*UNREADABLE, KeyError) as cause:
        raise FormatError("format.query", expected="an NPY or NPZ file of plain arrays", seen=source.name) from cause
