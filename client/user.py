"""What a user does: verify the query enclave, ask sealed questions, open sealed answers (side: owner: user's machine).

Quote, placement and manifest are verified here before anything is sealed (client/query_verification has the checks).
The owner's grant says which model, under which broker and release; this user's pins say whom to believe, and the newest
inventory of machines, which the broker is asked for, that no machine is believed which was revoked.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from client.broker import BrokerLink, trust_floor
from client.broker_quote import newest_collateral
from client.context import Party
from client.events import Answered, AnswersAdvanced, Event, QuoteVerified, ReceiptKept
from client.http_client import ServiceClient
from client.platforms import platform_rules, rules_shown
from client.query_client import QueryClient
from client.query_exchange import joined
from client.query_rows import ReadRows
from client.query_session import QueryPins, QuerySession, QueryUser
from client.receipts import require_new
from client.serving import granted_record
from common.dcap import PlatformRules
from common.dcap.completion import CompleteEvidence, complete_evidence
from common.errors import AppraisalError, NotFoundError, PolicyError, UnavailableError
from common.identifiers import ModelId
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.evidence import DcapQuote, Evidence
from common.messages.policy import QueryGrant
from common.messages.serving import ServedName
from common.messages.signed import Signed, open_signed


def open_session(party: Party, grant: Signed, asked: ModelId | str | None = None) -> QuerySession:
    """Verify the query enclave and open a session with it.

    By a grant for a name it is that of the version which the owner's newest record leads to, and follows it; or of the
    version that is `asked` for, if the name stands for it. What else is asked for is what the grant names: else
    `PolicyError` (policy.grant).

    Raises `AppraisalError` when the grant is for another broker than the pinned one, `AuthenticityError` when none of
    the model's grant authorities signed it, `FreshnessError` for a broker that is older than what this user has seen
    (its log: freshness.state, its inventory: freshness.inventory) or collateral that is (freshness.collateral), and
    what `client.query_verification` raises.
    """
    trust, terms = party.trust, QueryGrant.decode(grant.payload)
    if terms.broker != trust.broker.signing_public:
        raise AppraisalError("appraisal.pin", expected=trust.broker.signing_public, seen=terms.broker)
    key = party.identity.signing_key
    pins = QueryPins(trust.release, trust.trust_settings, trust_floor(party), _rules(party))
    asking = QueryUser(key, grant, pins, partial(_complete, party), party.remember_collateral)
    if terms.served is None:
        require_asked(asked, terms.model_id)
    else:
        asking = _by_name(party, asking, terms.served, asked)
    session = QuerySession.open(QueryClient(party.endpoints.query, key), asking)
    open_signed(grant, QueryGrant, session.enclave.placement.grant_authorities)
    return session


def _by_name(party: Party, asking: QueryUser, served: ServedName, asked: ModelId | str | None) -> QueryUser:
    """Follow the name, or stay with one of its versions."""
    records = partial(granted_record, party, asking.grant)
    if not isinstance(asked, ModelId):
        require_asked(asked, served.name)
        return replace(asking, records=records)
    named = {one.model_id: one for one in records().models}
    if asked not in named:
        raise PolicyError("policy.serving", expected=f"one of {sorted(named)} under {served.name}", seen=asked)
    return replace(asking, model=named[asked])


def require_asked(asked: str | None, granted: str | None) -> None:
    """What a user asks for is what the grant names. Raises `PolicyError` (policy.grant)."""
    if asked not in {None, granted}:
        raise PolicyError("policy.grant", expected=granted, seen=asked)


def _complete(party: Party, evidence: Evidence) -> CompleteEvidence:
    """With the collateral that the attestation service has now, for a proof is as old as the enclave's placement.

    Where it has none, with what the quote carries. Raises `FormatError` (format.collateral) where that has none either.
    """
    try:
        newest = newest_collateral(evidence, ServiceClient(party.endpoints.attestation, party.identity.signing_key))
    except (NotFoundError, UnavailableError):
        return complete_evidence(evidence)
    return complete_evidence(DcapQuote(quote=evidence.quote), newest)


def _rules(party: Party) -> PlatformRules:
    """After the pinned broker has shown its inventory. A broker that is away shows none: then what is known counts."""
    settings = party.trust.trust_settings
    try:
        shown = BrokerLink(party).ask(DescribeBroker(), BrokerDescription).inventory
    except UnavailableError:
        return platform_rules(party, settings)
    return rules_shown(party, settings)(shown)


def query(
    party: Party,
    grant: Signed,
    rows: NDArray[Any] | ReadRows,
    receipt: Path | None = None,
    asked: ModelId | str | None = None,
) -> Iterator[Event]:
    """Ask the granted model about rows of its input's shape and type. Ends with `Answered`.

    `asked`: a name or a version, as `open_session` takes it.

    With `receipt`, a new file, receipts of the answers are kept there (client/receipts), also where a later query
    fails. Raises `ConflictError` (conflict.receipt_file) where there is one, what `open_session` raises, the refusals
    that the enclave sealed for this user, and `FormatError` (format.query) for rows that were read and do not fit the
    model.
    """
    if receipt is not None:
        require_new(receipt)
    session = open_session(party, grant, asked)
    yield QuoteVerified(role="query", measurement=session.enclave.measurement, trust_level=session.enclave.trust_level)
    fitted = rows.fitted(session.profile) if isinstance(rows, ReadRows) else rows
    book = None if receipt is None else session.receipt_book()
    answers, done = [], 0
    try:
        for one in session.ask_each(fitted, book):
            answers.append(one)
            done += len(one.labels)
            yield AnswersAdvanced(rows=done, of=len(fitted))
    finally:
        if receipt is not None and book is not None and book.receipts:
            book.write(receipt)
            yield ReceiptKept(path=str(receipt), receipts=len(book.receipts))
    answer = joined(answers)
    queries = -(-len(fitted) // session.profile.max_rows)
    yield Answered(
        rows=len(fitted),
        labels=tuple(int(label) for label in answer.labels),
        answers_left=answer.answers_left,
        queries=queries,
        answered_by=session.profile.answered_by,
        models=tuple(dict.fromkeys(one.model_id for one in answers if one.model_id is not None)),
        sent_bytes=queries * session.profile.query_bytes,
        received_bytes=queries * session.profile.answer_bytes,
        trust_level=session.enclave.trust_level,
        witnessed=session.enclave.placement.witnessed,
    )
