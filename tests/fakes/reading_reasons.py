"""A party that asks the key broker why others were refused under its terms (side: library)."""

import secrets
from typing import Any

from common.key_binding import reasons_info
from common.messages.reasons import REASONS_BYTES, ReadReasons, ReasonsReply, ReasonsRequest, RefusalReasons
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import BrokerWorld, Party


def reasons_request(world: BrokerWorld, reader: Party, **changes: Any) -> Signed:
    """What the party signs."""
    fields = {
        "nonce": secrets.token_bytes(16), "party": reader.party, "report_key": reader.report_key,
        "broker": world.genesis.signing_public,
    } | changes  # fmt: skip
    return sign(ReasonsRequest(**fields), reader.key)


def reasons_of(world: BrokerWorld, reader: Party, **changes: Any) -> RefusalReasons:
    """What it reads."""
    request = reasons_request(world, reader, **changes)
    reply = world.channel(reader).ask(ReadReasons(request=request), ReasonsReply)
    plain = reader.identity.report_key.open(reply.sealed, reasons_info(request.digest, reader.party))
    assert len(plain) == REASONS_BYTES
    return RefusalReasons.decode(plain)


def told(world: BrokerWorld, reader: Party, **changes: Any) -> list[tuple[str, str | None, str | None]]:
    """Own code, expected and seen of each reason, the oldest first."""
    return [
        (one.detail.code or one.code, one.detail.expected, one.detail.seen)
        for one in reasons_of(world, reader, **changes).reasons
    ]
