"""What the operator is told of a launch that was refused: of its own machine alone (side: host).

The broker's reply carries in the clear what was seen of a quote and its collateral, and what was expected where that is
a release's or a challenge's to say (services/attestation/entitlement). It stands in the service's log beside the code,
so that whoever runs the machine can mend it. What a party's terms expected is in no such reply.
"""

import logging

from common.errors import Refusal
from common.event_log import log_event
from common.messages.admission import Admit, RenewLease
from common.messages.broker_exchange import BrokerReply, RequestBody
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed
from common.messages.tokens import AppraiseEvidence

_log = logging.getLogger("attestation.launches")


def log_refused_launch(asked: RequestBody, raw: bytes) -> None:
    """Log the refusal in these reply bytes, if they hold one, of a request that shows a quote."""
    if not isinstance(asked, Admit | RenewLease | AppraiseEvidence):
        return
    try:
        body = BrokerReply.decode(Signed.decode(raw).payload).body
    except Refusal:
        return  # its asker says what is wrong with it
    if isinstance(body, Refused) and body.shown is not None:
        expected, seen = body.shown.expected, body.shown.seen
        shown = "; ".join(f"{name}: {text}" for name, text in (("expected", expected), ("seen", seen)) if text)
        named = asked.binding
        log_event(
            _log,
            "launch_refused",
            logging.WARNING,
            code=body.code,
            role=named.role,
            slot=named.slot,
            attempt=named.attempt,
            shown=shown,
        )
