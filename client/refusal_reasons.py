"""Reading why requests of others were refused under this party's terms (side: owner).

Enclaves ask the key broker for keys, leases and answers, and a host carries that: a refusal's code is all that it gets.
What was expected and seen the broker keeps for whose terms, or release, it was that refused.
"""

import secrets
from collections.abc import Iterator

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, ReasonsRead, ReasonTold
from common.identifiers import JobId
from common.key_binding import reasons_info
from common.messages.reasons import ReadReasons, ReasonsReply, ReasonsRequest, RefusalReasons
from common.messages.signed import sign


def read_reasons(party: Party, job: JobId | None = None, *, of_release: bool = False) -> Iterator[Event]:
    """Ask the verified broker; those of one job, or all. Ends with `ReasonsRead`.

    `of_release`: as one of the release keys, what their releases and inventory refused. The answer opens with this
    party's report key alone. Raises `PolicyError` (policy.release_key).
    """
    link, own = BrokerLink(party), party.identity
    yield link.verify()
    request = sign(
        ReasonsRequest(
            nonce=secrets.token_bytes(16),
            party=own.signing_key.party,
            report_key=own.report_key.public,
            of_release=of_release,
            broker=party.trust.broker.signing_public,
        ),
        own.signing_key,
    )
    sealed = link.ask(ReadReasons(request=request), ReasonsReply).sealed
    read = RefusalReasons.decode(own.report_key.open(sealed, reasons_info(request.digest, own.signing_key.party)))
    chosen = [reason for reason in read.reasons if job in (None, reason.job)]
    for reason in chosen:
        yield ReasonTold(reason=reason)
    yield ReasonsRead(told=len(chosen), kept=len(read.reasons), dropped=read.dropped, unkept=read.unkept)
