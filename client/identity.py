"""What a party does about its own identity: make it known with its recovery key, and end it (side: owner).

`keygen` writes the recovery key apart from the identity. A key broker learns of it by the identity's card, when the
party pins that broker; what it has learned first, it keeps. The recovery key is needed for one thing alone: to revoke
or replace an identity whose key is lost or in other hands. Nothing but its own file and a pinned broker is needed then.
"""

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.ledger import read_ledger
from client.policy_changes import return_to_version
from client.policy_events import LedgerRead
from client.services import IngestService
from common.crypto.key_file import Identity
from common.crypto.recovery_key import RecoveryKey
from common.errors import ConflictError, FormatError, NotFoundError, UnavailableError
from common.identifiers import DatasetId, PartyKey
from common.messages.identity import BindIdentity, IdentityBound, IdentityCard, RecoverIdentity, RecoveryStatement
from common.messages.revocation import Revoked
from common.messages.signed import Signature, Signed, sign


def make(directory: Path, name: str, recovery: Path | None, *, unsafe_simulation: bool) -> Iterator[e.Event]:
    """Make an identity directory, and its recovery key in a file elsewhere. Ends with `IdentityMade`.

    Raises `ConflictError` (conflict.identity) where one of them is there: neither is ever overwritten.
    """
    for path in (directory / "identity.json", *([] if recovery is None else [recovery])):
        if path.exists():
            raise ConflictError("conflict.identity", expected="a new name", seen=path)
    try:
        party = Party.create(directory, name, unsafe_simulation=unsafe_simulation)
        key = None if recovery is None else RecoveryKey.generate(party.identity.signing_key.party)
        party.keep_card(_card(party.identity, key))
        if key is not None and recovery is not None:
            key.write(recovery)
    except FileExistsError:
        raise ConflictError("conflict.identity", expected="a new name", seen=directory) from None
    yield e.IdentityMade(
        name=name,
        party=party.identity.signing_key.party,
        directory=str(directory),
        unsafe_simulation=unsafe_simulation,
        recovery_key=None if recovery is None else str(recovery),
    )


def card_of(party: Party) -> Signed:
    """The identity's card; one without a recovery key where it was made without."""
    if party.card is None:
        party.keep_card(_card(party.identity, None))
    card = party.card
    if card is None:
        raise FormatError("format.message", expected="an identity's card")
    return card


def make_known(party: Party) -> IdentityBound:
    """The pinned broker knows this identity by its card; before a first thing of its own makes it known without."""
    return BrokerLink(party).ask(BindIdentity(card=card_of(party)), IdentityBound)


def bind(party: Party) -> Iterator[e.Event]:
    """Make this identity known to the pinned broker by its card. Ends with `IdentityKnown`. May be repeated.

    Raises `ConflictError` (conflict.identity_card) if it is known with another recovery key, or without one.
    """
    bound = make_known(party)
    yield e.IdentityKnown(party=bound.party, recovery=bound.recovery)


def bind_if_awake(party: Party) -> Iterator[e.Event]:
    """As `bind`; while the broker is frozen it can be repeated later, which this says."""
    try:
        yield from bind(party)
    except UnavailableError as refusal:
        if refusal.code != "unavailable.frozen":
            raise
        yield e.Noted(
            text="The key broker waits for its witnesses, so it does not know this identity's recovery key yet. "
            "`cloister identity bind` tells it.",
            warning=True,
        )


def revoke(party: Party, key: RecoveryKey) -> Iterator[e.Event]:
    """End the recovery key's identity at the broker that `party` has pinned. Ends with `Ended`.

    `party` is any identity of this machine; it only asks.
    """
    revoked = _bring(party, _signed(_statement(party, key.party), key))
    yield e.Ended(identifier=key.party, state="revoked", leases_end=revoked.leases_end)


def replace(old: Party, key: RecoveryKey, successor: Party, void_from: int | None) -> Iterator[e.Event]:
    """Let `successor` go on in the place of the recovery key's identity. Ends with `IdentityReplaced`.

    `void_from`: since which entry of the log the old identity's signatures are a thief's; None: they are all its own.
    What the directory of `old` still has goes along: pins, documents, and object keys if its key file is there. A
    broker that never met the old identity, where its data sets are to be recovered, learns of it by its card first.
    """
    if not successor.pinned:
        successor.pin(old.trust)
    statement = _statement(successor, key.party, card_of(successor), void_from)
    signed = _signed(statement, key, sign(statement, successor.identity.signing_key).signatures[0])
    try:
        revoked = _bring(successor, signed)
    except NotFoundError:
        if old.card is None:
            raise
        BrokerLink(successor).ask(BindIdentity(card=old.card), IdentityBound)
        revoked = _bring(successor, signed)
    successor.keep_document("statements", key.party, signed)
    carried = carry_over(old, successor)
    if void_from is not None:
        yield from _return_to_standing_policies(successor)
    yield e.IdentityReplaced(
        party=key.party,
        successor=successor.identity.signing_key.party,
        void_from=void_from,
        leases_end=revoked.leases_end,
        carried=carried,
    )


def carry_over(old: Party, new: Party) -> int:
    """Documents and object keys from one identity directory into another that has none of that name; how many.

    Object keys are wrapped anew, for which the old key file is needed; without it they are left behind.
    """
    count = 0
    for source in old.document_files():
        target = new.directory / source.relative_to(old.directory)
        if not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(source, target)
            count += 1
    for root in old.key_roots() if old.made else ():
        if root not in new.key_roots():
            new.keep_key(root, old.object_key(root))
            count += 1
    return count


def _return_to_standing_policies(party: Party) -> Iterator[e.Event]:
    """The next version of each policy is chained to the newest that still stands, which the broker's ledger names."""
    for name in party.documents("policies"):
        with contextlib.suppress(FormatError, NotFoundError):  # another document, or another broker's data set
            dataset_id = DatasetId(name)
            version = e.outcome(read_ledger(party, dataset_id), LedgerRead).ledger.policy_version
            if not return_to_version(party, dataset_id, version):
                words = f"{dataset_id} is under policy version {version} again, which is not in this directory"
                yield e.Noted(text=words, warning=True)


def _card(identity: Identity, recovery: RecoveryKey | None) -> Signed:
    card = IdentityCard(
        party=identity.signing_key.party,
        report_key=identity.report_key.public,
        recovery=None if recovery is None else recovery.public,
        unsafe_simulation=identity.unsafe_simulation,
        created=int(time.time()),
    )
    signed = sign(card, identity.signing_key)
    if recovery is None:
        return signed
    consent = Signature(signer=recovery.public, signature=recovery.sign_card(signed.payload))
    return signed.model_copy(update={"signatures": (*signed.signatures, consent)})


def _statement(
    party: Party, ended: PartyKey, successor: Signed | None = None, void_from: int | None = None
) -> RecoveryStatement:
    return RecoveryStatement(
        nonce=secrets.token_bytes(16),
        party=ended,
        successor=successor,
        void_from=void_from,
        broker=party.trust.broker.signing_public,
        created=int(time.time()),
    )


def _signed(statement: RecoveryStatement, key: RecoveryKey, *others: Signature) -> Signed:
    payload = statement.encode()
    own = Signature(signer=key.public, signature=key.sign_statement(payload))
    return Signed(payload_type=statement.type, payload=payload, signatures=(own, *others))


def _bring(party: Party, statement: Signed) -> Revoked:
    """To the broker, through the front door, which then refuses the old identity's requests."""
    link = BrokerLink(party, IngestService.of(party).recover)
    return link.ask(RecoverIdentity(statement=statement), Revoked)
