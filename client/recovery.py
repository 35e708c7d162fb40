"""Recovery of a data set whose key broker is gone: what holders, owners and the operator do (side: owner).

A holder's share is opened here and nowhere else in the clear but in the new broker's enclave. Before it is wrapped
again, in this order, each raises:

  (1) the package is signed by the broker that this holder has pinned, and names this holder;
  (2) the new broker's quote is genuine, its code that of the pinned release, its machine one that this holder accepts
      (`client/broker`, `client/platforms`), its collateral no older than any that this holder has seen;
  (3) it is another broker than the old one;
  (4) the share opens under everything that the package says of it, and is the one that was made for this holder.

What the holder must decide himself: that the old broker is indeed gone, and that its owner would want this.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from client import recovery_events as r
from client.broker import describe_broker, trust_floor
from client.context import Endpoints, Party
from client.events import Event, QuoteVerified
from client.http_client import ServiceClient
from client.platforms import rules_shown
from client.witnessing import Witness
from common.broker_verification import VerifiedBroker
from common.crypto.secret_sharing import SecretShare
from common.errors import AppraisalError, AuthenticityError, FormatError, PolicyError, refusal_of
from common.identifiers import DatasetId
from common.key_binding import given_share_info, held_share_info
from common.messages.broker_exchange import BrokerReply
from common.messages.recovery import Recovered, RecoveryWords, SharesRefused
from common.messages.recovery_package import GivenShare, HeldShare, RecoveryPackage, Retirement
from common.messages.recovery_terms import HolderCard
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed, open_signed, sign

RECOVERY_PATH: Final = "/v1/recovery"


def write_card(party: Party, destination: Path) -> Iterator[Event]:
    """Write this party's card, for owners whose shares it will hold. Ends with `CardKept`."""
    key = party.identity.signing_key
    card = sign(HolderCard(party=key.party, wrapping_public=party.identity.report_key.public), key)
    destination.write_bytes(card.encode())
    yield r.CardKept(party=key.party, path=str(destination))


def keep_card(party: Party, source: Path) -> Iterator[Event]:
    """Keep a holder's card. Ends with `CardKept`: whether that key is the person's, the owner asks the person."""
    document = Signed.decode(source.read_bytes())
    card = open_signed(document, HolderCard, [document.unverified_signer])
    if card.party != document.unverified_signer:
        raise AuthenticityError("authenticity.signature", expected=card.party, seen=document.unverified_signer)
    party.keep_document("holders", card.party, document)
    yield r.CardKept(party=card.party)


def fetch_package(endpoints: Endpoints, dataset_id: DatasetId) -> Signed:
    """The recovery package that the attestation service has of a data set."""
    return Signed.decode(ServiceClient(endpoints.attestation).get(f"{RECOVERY_PATH}/{dataset_id}"))


def show(document: Signed) -> Iterator[Event]:
    """Tell what a package says in the open. Ends with `PackageShown`."""
    package = open_signed(document, RecoveryPackage, [_read(document).broker.signing_public])
    yield r.PackageShown(
        dataset_id=package.dataset_id,
        digest=document.digest,
        broker=package.broker.digest,
        policy_version=package.policy_version,
        head=package.head,
        needed=package.needed,
        holders=tuple(one.holder for one in package.shares),
    )


def give_share(party: Party, document: Signed, destination: Path) -> Iterator[Event]:
    """Verify the broker that answers now, and wrap this holder's share to it. Ends with `ShareGiven`.

    Checks (1) to (4). Raises `AuthenticityError` (1, 2, 4), `AppraisalError` (1, 2, 3), `PolicyError` (1:
    policy.recovery), `FreshnessError` (2: freshness.collateral for an older one than was seen) and what verifying a
    quote raises.
    """
    trust = party.trust
    package, held = _held(party, document)  # (1)
    release, rules = trust.open_release(), rules_shown(party, trust.trust_settings)
    verified = describe_broker(party.endpoints, trust.trust_settings, release, rules, trust_floor(party))  # (2)
    party.remember_collateral(verified.collateral)  # (2)
    yield QuoteVerified(role="broker", measurement=verified.claims.measurement, trust_level=verified.claims.trust_level)
    given = _wrapped(party, _opened(party, package, held), document, verified)  # (3), (4)
    destination.write_bytes(sign(given, party.identity.signing_key).encode())
    yield r.ShareGiven(
        dataset_id=package.dataset_id,
        package=document.digest,
        successor=given.successor,
        epoch=given.epoch,
        path=str(destination),
    )


def retire(witness: Witness, successor: str, destination: Path) -> Iterator[Event]:
    """A witness confirms the end of its broker, for the one at `successor`. Ends with `BrokerRetired`."""
    document = witness.retire(ServiceClient(successor))
    word = Retirement.decode(document.payload)
    destination.write_bytes(document.encode())
    yield r.BrokerRetired(broker=word.broker, successor=word.successor, head=word.head, path=str(destination))


def submit(
    endpoints: Endpoints, dataset_id: DatasetId, shares: Sequence[Path], retirements: Sequence[Path]
) -> Iterator[Event]:
    """Bring what holders and witnesses gave to the new broker. Ends with `DatasetRecovered`.

    The operator asks, so its own service's answer is read as it comes. Raises the broker's refusal; for shares that are
    not right `AuthenticityError` (authenticity.recovery_share), which names their holders.
    """
    words = RecoveryWords(shares=_documents(shares), retirements=_documents(retirements))
    raw = ServiceClient(endpoints.attestation).post(f"{RECOVERY_PATH}/{dataset_id}", words.encode())
    body = BrokerReply.decode(Signed.decode(raw).payload).body
    if isinstance(body, Refused):
        raise refusal_of(body.code)
    if isinstance(body, SharesRefused):
        expected, wrong = "shares for this broker as it runs now", ", ".join(body.holders)
        raise AuthenticityError("authenticity.recovery_share", expected=expected, seen=wrong)
    if not isinstance(body, Recovered):
        raise FormatError("format.message", expected="recovered", seen=body.type)
    yield r.DatasetRecovered(dataset_id=body.dataset_id, predecessor=body.predecessor)


def _read(document: Signed) -> RecoveryPackage:
    return RecoveryPackage.decode(document.payload)


def _held(party: Party, document: Signed) -> tuple[RecoveryPackage, HeldShare]:
    """Check (1)."""
    pinned, own = party.trust.broker, party.identity.signing_key.party
    if _read(document).broker.digest != pinned.digest:
        raise AppraisalError("appraisal.pin", expected=pinned.digest, seen=_read(document).broker.digest)
    package = open_signed(document, RecoveryPackage, [pinned.signing_public])
    for share in package.shares:
        if share.holder == own:
            return package, share
    raise PolicyError("policy.recovery", expected=[one.holder for one in package.shares], seen=own)


def _opened(party: Party, package: RecoveryPackage, held: HeldShare) -> SecretShare:
    """Check (4)."""
    broker, name, policy = package.broker.digest, package.dataset_id, package.policy
    info = held_share_info(broker, name, policy, package.policy_version, package.head.epoch, held.holder)
    share = SecretShare.unwrap(party.identity.report_key, held.wrapped, info)
    if (share.number, share.commitment(broker.raw(), name.encode(), policy.raw())) != (held.number, held.commitment):
        raise AuthenticityError("authenticity.recovery_share", expected="the share that was made for this holder")
    return share


def _wrapped(party: Party, share: SecretShare, document: Signed, verified: VerifiedBroker) -> GivenShare:
    """The share for the verified broker's present boot alone. Check (3)."""
    successor, holder = verified.genesis, party.identity.signing_key.party
    if successor.digest == party.trust.broker.digest:
        raise AppraisalError("appraisal.pin", expected="another broker than the pinned one", seen=successor.digest)
    epoch, boot_nonce = verified.head.epoch, verified.description.boot_nonce
    info = given_share_info(document.digest, successor.digest, epoch, boot_nonce, holder)
    return GivenShare(
        package=document.digest,
        successor=successor.digest,
        epoch=epoch,
        boot_nonce=boot_nonce,
        holder=holder,
        wrapped=share.wrap(verified.wrapping_public, info),
    )


def _documents(paths: Sequence[Path]) -> tuple[Signed, ...]:
    return tuple(Signed.decode(path.read_bytes()) for path in paths)
