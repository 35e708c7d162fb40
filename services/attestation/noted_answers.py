"""What the operator is told of the key broker's answers: codes, times, and what was seen of its machine (side: host).

Counted are refusals by code, and how long evidence of a launch took to be answered. The broker's reply carries in the
clear what was seen of a quote and its collateral, and what was expected where that is a release's or a challenge's to
say (services/attestation/entitlement). It stands in the service's log beside the code, so that whoever runs the machine
can mend it. What a party's terms expected is in no such reply.
"""

import logging
from typing import Final

from common.errors import Refusal, refusal_of
from common.event_log import log_event
from common.messages.admission import Admit, RenewLease
from common.messages.broker_exchange import BrokerReply, RequestBody
from common.messages.launch_binding import LaunchBinding
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed
from common.messages.tokens import AppraiseEvidence
from common.untrusted.metrics import ATTESTATION_SECONDS, REFUSALS

_log = logging.getLogger("attestation.launches")

_OUTCOMES: Final = {False: "granted", True: "refused"}


_REFUSED: Final = b'"refused"'
"""In each reply that refuses, as `Message.encode` writes its type."""


def note_answer(asked: RequestBody, raw: bytes, seconds: float) -> None:
    """Count these reply bytes, which came so long after the request; log a refusal of one that shows a quote."""
    try:
        refused = _refused_in(Signed.decode(raw).payload)
    except Refusal:
        return  # its asker says what is wrong with it
    if refused is not None:
        REFUSALS.labels(refusal_of(refused.code).code).inc()
    if isinstance(asked, Admit | RenewLease | AppraiseEvidence):
        ATTESTATION_SECONDS.labels(asked.type, _OUTCOMES[refused is not None]).observe(seconds)
        if refused is not None:
            _log_refused_launch(asked.binding, refused)


def _refused_in(reply: bytes) -> Refused | None:
    if _REFUSED not in reply:  # most replies, and parsing one takes longer than carrying it
        return None
    body = BrokerReply.decode(reply).body
    return body if isinstance(body, Refused) else None


def _log_refused_launch(named: LaunchBinding, refused: Refused) -> None:
    if refused.shown is None:
        return
    expected, seen = refused.shown.expected, refused.shown.seen
    shown = "; ".join(f"{name}: {text}" for name, text in (("expected", expected), ("seen", seen)) if text)
    log_event(
        _log,
        "launch_refused",
        logging.WARNING,
        code=refused.code,
        role=named.role,
        slot=named.slot,
        attempt=named.attempt,
        shown=shown,
    )
