"""A data set comes from a broker that is over (side: enclave).

Its machine is gone, and with it the key under which its state was sealed. What its owner named holders for comes here
when enough of them give their shares to this boot of this broker, whose quote each has verified. Shares meet here and
nowhere else. In this order, each raises:

  (1) the package is signed by the key of the genesis that it names, and that is another broker;
  (2) it is the newest word about its data set, and that broker is over (`recovery_log`);
  (3) each share is signed by a holder that the package names, whose identity is not over here, once, for this package,
      broker, epoch and boot; it opens, and is the one that was made for that holder; else the answer names the holders,
      and nothing is recovered;
  (4) there are as many as the package asks for;
  (5) joined they open it; the owner's identity is not over here, and whatever the other broker knew of it is known here
      too: a replaced key has its recovery key's statement for this broker first, a card is the same or becomes known;
  (6) what is in it is what it says, and names exactly these holders in a policy that its owner has signed: so owner and
      holders, and nobody else, vouch for the broker that made it;
  (7) this platform is one that the policy accepts, the clock is not behind, and the data set is not known here.

What it brings: data key, policy, counters (whatever was charged is spent, also what never left), revoked releases; and
what those witnesses who guard this broker, too, remember of collateral (`collateral`). It brings no job, model, bundle,
grant, lease, attempt or order: all of these name the other broker's key, and are refused.
A data set that was revoked, or whose owner was, has no package, and one from before the revocation fails (2).
"""

from collections.abc import Iterator, Sequence

from common.crypto.aead import open_blob, open_ring
from common.crypto.keys import SecretKey
from common.crypto.labels import RECOVERY_KEYS, RECOVERY_PACKAGE
from common.crypto.secret_sharing import SecretShare, join
from common.enclave.trust_settings import require_release_revocation
from common.errors import AuthenticityError, ConflictError, PolicyError, Refusal, UnavailableError
from common.identifiers import DatasetId, PartyKey
from common.key_binding import given_share_info
from common.messages.decision_log import LogSubjects
from common.messages.log_heads import LogHead
from common.messages.objects import DatasetManifest
from common.messages.policy import DataPolicy
from common.messages.recovery import RecoverDataset, Recovered, SharesRefused
from common.messages.recovery_package import GivenShare, HeldShare, RecoveredDataset, RecoveryPackage
from common.messages.signed import Signed, open_signed
from common.policy_rules import require_document_fits
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.identity_replacement import require_known_alike
from services.attestation.ledger import ANSWER_BITS, ANSWERS, ATTEMPT_BITS, ATTEMPTS, JOBS, REPORT_BITS, tally_of
from services.attestation.log_subjects import of_dataset
from services.attestation.records import DatasetRecord, Record, RevokedReleaseRecord, TallyRecord
from services.attestation.recovery_log import require_newest
from services.attestation.recovery_packages import package_context, require_packable, share_context
from services.attestation.registration import DATA_KEY
from services.attestation.versions import accepted, version_name

_PACKAGE = "authenticity.recovery_package"


def recover_dataset(broker: BrokerContext, body: RecoverDataset, at: int) -> Recovered | SharesRefused:
    """Checks (1) to (7). Raises `AuthenticityError` (1, 2, 3, 5, 6), `FreshnessError` (2), `PolicyError` (2, 4, 5, 7),
    `UnavailableError` (7) or `ConflictError` (5, 7), or `FormatError`.
    """
    package = _open_package(broker, body.package)  # (1)
    words = require_newest(package, body, broker.genesis)  # (2)
    given = _Given(broker, body.package, package)
    given.take(body.shares)  # (3)
    if given.refused:
        return SharesRefused(holders=tuple(given.refused))
    if len(given.shares) < package.needed:  # (4)
        raise PolicyError("policy.recovery", expected=f"{package.needed} shares", seen=len(given.shares))
    held, key = _opened(package, join(list(given.shares.values())))  # (5)
    owner = DatasetManifest.decode(held.manifest.payload).owner
    open_signed(held.manifest, DatasetManifest, [owner])
    party = require_known_alike(broker, owner, held.holder, held.card)
    record = _record(broker, package, held, owner, key)  # (6)
    settings = broker.platform.trust_settings
    require_document_fits(record.policy, broker.platform.trust_level, production=settings.production)  # (7)
    if at < package.time:
        raise UnavailableError("unavailable.time", expected=f"{package.time} or later", seen=at)
    if broker.state.find(DatasetRecord, record.dataset_id) is not None:
        raise ConflictError("conflict.registered", expected="a data set that is not known here")
    decision = Decision("recover-dataset", _subjects(broker, record, package, body.package, given, words.head))
    for witness in set(broker.genesis.witnesses) & set(words.collateral):
        broker.collateral.hear(witness, words.collateral[witness])
    version, spent = accepted(broker, version_name(record), record.policy_document), _spent(held, record.dataset_id)
    broker.state.commit(decision, at, record, version, *party, *spent, *_revoked(broker, held))
    return Recovered(dataset_id=record.dataset_id, predecessor=package.broker.digest)


def _open_package(broker: BrokerContext, document: Signed) -> RecoveryPackage:
    """Check (1)."""
    signer = RecoveryPackage.decode(document.payload).broker.signing_public
    package = open_signed(document, RecoveryPackage, [signer])
    if package.broker.digest == broker.broker:
        raise ConflictError("conflict.registered", expected="another broker's package")
    return package


class _Given:
    """Check (3): the shares that are right, by holder, and the holders whose shares are not."""

    def __init__(self, broker: BrokerContext, document: Signed, package: RecoveryPackage) -> None:
        self._broker, self._digest = broker, document.digest
        self._named: dict[PartyKey, HeldShare] = {one.holder: one for one in package.shares}
        self._context = share_context(package.broker.digest, package.dataset_id, package.policy)
        self.shares: dict[PartyKey, SecretShare] = {}
        self.refused: list[PartyKey] = []

    def take(self, documents: Sequence[Signed]) -> None:
        """Take the shares that are right. Raises `AuthenticityError` for one that none of the named holders signed."""
        for document in documents:
            holder = document.unverified_signer
            if holder not in self._named:
                raise AuthenticityError("authenticity.recovery_share", expected=sorted(self._named), seen=holder)
            try:
                self._broker.parties.require_in_force(holder)
                share = self._open(open_signed(document, GivenShare, [holder]), holder)
            except Refusal:
                if holder not in self.refused:
                    self.refused.append(holder)
            else:
                self.shares[holder] = share

    def _open(self, given: GivenShare, holder: PartyKey) -> SecretShare:
        broker, named = self._broker, self._named[holder]
        here = (self._digest, broker.broker, broker.state.log.epoch, broker.anchor.boot_nonce, holder)
        if (given.package, given.successor, given.epoch, given.boot_nonce, given.holder) != here:
            raise AuthenticityError("authenticity.recovery_share", expected="a share for this boot and package")
        share = SecretShare.unwrap(broker.wrapping_key, given.wrapped, given_share_info(*here))
        if (share.number, share.commitment(*self._context)) != (named.number, named.commitment):
            raise AuthenticityError("authenticity.recovery_share", expected="the share that was made for this holder")
        return share


def _opened(package: RecoveryPackage, secret: SecretKey) -> tuple[RecoveredDataset, SecretKey]:
    """The sealed part of a package and the data key. Raises `AuthenticityError` for shares of another one."""
    context = package_context(package.broker, package.dataset_id, package.policy, package.head)
    held = RecoveredDataset.decode(open_blob(secret, RECOVERY_PACKAGE, package.sealed, *context, code=_PACKAGE))
    ring = open_ring(secret, RECOVERY_KEYS, held.keys, *context)
    if set(ring) != {DATA_KEY}:
        raise AuthenticityError(_PACKAGE, expected=f"a key ring of {DATA_KEY}", seen=sorted(ring))
    return held, ring[DATA_KEY]


def _record(
    broker: BrokerContext, package: RecoveryPackage, held: RecoveredDataset, owner: PartyKey, key: SecretKey
) -> DatasetRecord:
    """The data set as it will be known here: check (6)."""
    policy = broker.parties.open_attempt(held.policy, DataPolicy, [owner])
    named = policy.recovery
    stated = (package.dataset_id, package.policy, package.policy_version, package.needed, _holders(package))
    found = (DatasetId.of(held.manifest.digest), held.policy.digest, policy.policy_version)
    if named is None or policy.owner != owner or stated != (*found, named.needed, named.parties):
        raise AuthenticityError(_PACKAGE, expected="a data set and holders as its owner's policy has them")
    require_packable(held.manifest, policy, held.policy)
    return DatasetRecord(
        dataset_id=package.dataset_id,
        manifest_document=held.manifest,
        policy_document=held.policy,
        keys=broker.state.keys.seal_ring(package.dataset_id, data=key),
    )


def _holders(package: RecoveryPackage) -> tuple[PartyKey, ...]:
    return tuple(one.holder for one in package.shares)


def _subjects(
    broker: BrokerContext,
    record: DatasetRecord,
    package: RecoveryPackage,
    document: Signed,
    given: _Given,
    head: LogHead,
) -> LogSubjects:
    return of_dataset(
        broker,
        record,
        parties=tuple(dict.fromkeys((broker.parties.holder(record.manifest.owner), *_holders(package)))),
        signers=tuple(given.shares),
        document=document.digest,
        predecessor=package.broker.digest,
        continues=head,
    )


def _spent(held: RecoveredDataset, name: DatasetId) -> Iterator[Record]:
    """The counters go on where they stood."""
    spent = held.spent
    for what, count in (
        (JOBS, spent.jobs),
        (ATTEMPTS, spent.attempts),
        (ATTEMPT_BITS, spent.attempt_bits),
        (ANSWERS, spent.answers),
        (ANSWER_BITS, spent.answer_bits),
        (REPORT_BITS, spent.report_bits),
    ):
        yield TallyRecord(name=tally_of(what, name), count=count)


def _revoked(broker: BrokerContext, held: RecoveredDataset) -> Iterator[Record]:
    """Releases that were over there are over here; their keys' signatures are checked anew."""
    for document in held.revoked_releases:
        release = require_release_revocation(document, broker.platform.trust_settings).release
        yield RevokedReleaseRecord(release=release, document=document)
