"""Carries between a key broker and the broker of another installation that witnesses for it (side: host).

The peer remembers and signs (services/attestation/peers); this only brings it what it asks for. A carrier that lies, or
is kept away, stops the broker and gains nothing. What a peer remembers, it tells in its answer: where it did not sign
the head that was shown, the proof from the one that it signed is fetched, and it is asked once more.
"""

import logging
import secrets
from typing import Final, Protocol

from common.broker_channel import NONCE_BYTES, BrokerChannel
from common.errors import FormatError
from common.event_log import log_event
from common.identifiers import Digest
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.collateral import SeenCollateral
from common.messages.decision_log import ConsistencyProof
from common.messages.log_heads import AwaitHead, Confirmed, ConfirmHead, HeadSigned, LogHead
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.signed import Signed

_log = logging.getLogger("witness.peer")
_BROKER_PATH: Final = "/v1/broker"


class Service(Protocol):
    """An attestation service over HTTP."""

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""

    def post(self, path: str, body: bytes) -> bytes:
        """The body of a successful answer."""


class PeerCarrier:
    """Between the broker behind `service` and its witness behind `peer`."""

    def __init__(self, service: Service, peer: Service) -> None:
        self._service, self._peer = service, peer
        self._epoch: int | None = None
        self._known: LogHead | None = None
        self._collateral: Digest | None = None
        self.broker_is_thawed = False

    def round(self) -> None:
        """Show the peer the broker's head, in whatever boot it is, and bring back its word. Raises what is refused."""
        self.broker_is_thawed, self._epoch = False, None
        shown = Signed.decode(self._service.post(_BROKER_PATH, _describe()))
        reply = BrokerReply.decode(shown.payload)
        if not isinstance(reply.body, BrokerDescription):
            raise FormatError("format.message", expected="broker-description", seen=reply.body.type)
        word = self._ask_peer(shown, reply.head)
        if word.size < reply.head.size:
            word = self._ask_peer(shown, reply.head, proof_from=word.size)
        self._say(reply.body, word)
        self._epoch, self._known = reply.head.epoch, reply.head
        self._collateral = SeenCollateral(marks=reply.body.collateral).digest

    def follow(self) -> bool:
        """Wait a moment until the log grows, then make a round. False when another boot answers."""
        if self._epoch is None or self._known is None:
            return False
        channel = BrokerChannel(lambda raw: self._service.post(_BROKER_PATH, raw))
        try:
            told = channel.ask(AwaitHead(known=self._known.size), HeadSigned)
            if channel.head is None or channel.head.epoch != self._epoch:
                self._epoch = None
                return False
            if channel.head != self._known or told.collateral not in {None, self._collateral}:
                self.round()
        except BaseException:
            self.broker_is_thawed, self._epoch = False, None
            raise
        return True

    def _ask_peer(self, shown: Signed, head: LogHead, *, proof_from: int | None = None) -> PeerWitnessed:
        known = self._known
        earlier = proof_from if proof_from is not None else known.size if known and known.size < head.size else None
        path: tuple[bytes, ...] = ()
        if earlier is not None:
            asked = f"/v1/log/consistency?earlier={earlier}&size={head.size}"
            path = ConsistencyProof.decode(self._service.get(asked)).path
        channel = BrokerChannel(lambda raw: self._peer.post(_BROKER_PATH, raw))
        word = channel.ask(WitnessPeer(description=shown, proof=path), PeerWitnessed)
        if channel.broker is None:
            raise RuntimeError("an answer has a signer")
        self._witness = channel.broker
        return word

    def _say(self, description: BrokerDescription, word: PeerWitnessed) -> None:
        head = LogHead(size=word.size, root=word.root, epoch=word.epoch)
        said = ConfirmHead(
            witness=self._witness,
            boot_nonce=description.boot_nonce,
            head=head,
            signature=word.signature,
            collateral=word.collateral,
        )
        channel = BrokerChannel(lambda raw: self._service.post(_BROKER_PATH, raw))
        self.broker_is_thawed = not channel.ask(said, Confirmed).frozen
        log_event(_log, "head_confirmed", log_size=head.size, epoch=head.epoch)


def _describe() -> bytes:
    return BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=DescribeBroker()).encode()
