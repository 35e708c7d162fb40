"""Reading what has left a data set, in bits (side: owner)."""

import secrets
from collections.abc import Iterator

from client.broker import BrokerLink
from client.context import Party
from client.events import Event
from client.policy_events import LedgerRead
from common.errors import AuthenticityError
from common.identifiers import DatasetId
from common.key_binding import ledger_info
from common.messages.ledger import Ledger, LedgerReply, LedgerRequest, ReadLedger
from common.messages.signed import sign


def read_ledger(party: Party, dataset_id: DatasetId) -> Iterator[Event]:
    """Ask the verified broker. Ends with `LedgerRead`. The answer opens with this owner's report key alone.

    Raises `NotFoundError` (not_found.dataset) for another owner's data set too, `AuthenticityError` for another answer.
    """
    link, own = BrokerLink(party), party.identity
    yield link.verify()
    request = sign(
        LedgerRequest(
            nonce=secrets.token_bytes(16),
            party=own.signing_key.party,
            dataset_id=dataset_id,
            broker=party.trust.broker.signing_public,
        ),
        own.signing_key,
    )
    sealed = link.ask(ReadLedger(request=request), LedgerReply).sealed
    ledger = Ledger.decode(own.report_key.open(sealed, ledger_info(request.digest, own.signing_key.party)))
    if ledger.dataset_id != dataset_id:
        raise AuthenticityError("authenticity.broker_reply", expected=dataset_id, seen=ledger.dataset_id)
    yield LedgerRead(
        dataset_id=dataset_id, ledger=ledger, bits=ledger.attempt_bits + ledger.answer_bits + ledger.report_bits
    )
