"""This broker as a witness of another installation's (side: enclave).

It does what a witness's process does (client/witnessing), but remembers in its sealed state, which witnesses of its own
keep from being rewound. In this order, each raises:

  (1) it has witnesses itself; its word leaves only when they have confirmed that it remembers (`key_broker`), and
      while it is frozen it says nothing;
  (2) the peer's own key has signed its description;
  (3) it is one of those that this host was told to serve (`WitnessRule`), and names this broker among its witnesses.

A head that is older than the one remembered, or another, or not proven to extend it, is not signed: the one remembered
is, so that a rewound peer knows. Beside the head it remembers, and tells, how new the collateral was that the peer has
seen (`collateral`). The peer's quote is not verified here: whose key this is, those know who
pinned it. Two brokers never wait for each other's words: a genesis names keys that were there before it.
"""

from common.broker_channel import require_not_older
from common.broker_statements import head_seen_parts
from common.crypto.labels import LOG_HEAD_SEEN
from common.crypto.merkle_proofs import verify_consistency
from common.dcap.collateral_memory import news_for, vouched_for
from common.errors import AuthenticityError, FormatError, FreshnessError, NotFoundError
from common.messages.broker_exchange import BrokerReply
from common.messages.broker_identity import BrokerDescription
from common.messages.collateral import MAX_MARKS
from common.messages.decision_log import LogSubjects
from common.messages.log_heads import LogHead
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.records import PeerRecord, peer_key


def witness_peer(broker: BrokerContext, body: WitnessPeer, at: int) -> PeerWitnessed:
    """Remember the peer's head, if it extends the one remembered; the newest, signed for the peer's boot."""
    if not broker.anchor.witnessed:  # (1)
        raise FreshnessError("freshness.state", expected="a peer that has witnesses itself")
    description, shown = _open(body)  # (2)
    peer = description.genesis
    if peer.digest not in broker.peers:  # (3)
        raise NotFoundError("not_found.peer", seen=peer.digest)
    if broker.genesis.signing_public not in peer.witnesses:
        raise NotFoundError("not_found.peer", expected="a peer that names this broker", seen=peer.digest)
    record = broker.state.find(PeerRecord, peer_key(peer.digest))
    remembered = _remembered(record, description, shown, body.proof)
    if remembered != record:
        subjects = LogSubjects(document=peer.digest, boot_nonce=description.boot_nonce)
        broker.state.commit(Decision("witness-peer", subjects), at, remembered)
    newest, told = remembered.head, news_for(description.collateral, remembered.collateral)
    parts = head_seen_parts(peer.digest, description.boot_nonce, newest, told)
    signature = broker.signing_key.sign(LOG_HEAD_SEEN, *parts)
    return PeerWitnessed(size=newest.size, root=newest.root, epoch=newest.epoch, signature=signature, collateral=told)


def _remembered(
    record: PeerRecord | None, description: BrokerDescription, shown: LogHead, proof: tuple[bytes, ...]
) -> PeerRecord:
    """What is to be remembered: nothing new of a head that may not take the place of the one before."""
    if record is not None and not _extends(record.head, shown, proof):
        return record
    before = () if record is None else record.collateral
    marks = vouched_for((before, description.collateral))
    return PeerRecord(broker=description.genesis.digest, head=shown, collateral=marks[:MAX_MARKS])


def _open(body: WitnessPeer) -> tuple[BrokerDescription, LogHead]:
    """The description, and the head of the reply that it came in, signed by the key that it names."""
    unverified = BrokerReply.decode(body.description.payload).body
    if not isinstance(unverified, BrokerDescription):
        raise FormatError("format.message", expected="broker-description", seen=unverified.type)
    reply = open_signed(body.description, BrokerReply, [unverified.genesis.signing_public])
    return unverified, reply.head


def _extends(remembered: LogHead, shown: LogHead, proof: tuple[bytes, ...]) -> bool:
    """Whether what is shown may take the place of what is remembered."""
    try:
        require_not_older(shown, remembered)
        if shown != remembered:
            verify_consistency(remembered.size, remembered.root, shown.size, shown.root, proof)
    except (FreshnessError, AuthenticityError):
        return False
    return True
