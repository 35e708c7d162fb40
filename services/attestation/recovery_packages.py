"""What the broker gives out of each data set, so that holders can bring it to another broker (side: enclave).

For each data set whose policy names holders a secret is born here, at each start and with each version of the policy,
and lives in this process alone: split among the holders, wrapped to each, and the key of the data set's package. A
package is made anew with every decision that changes what is in it, before anybody hears of the decision, and now and
then without one, so that the log behind it stays short. So the newest package is never older than the witnesses' newest
head says, and an older one is seen to be: each says at which head it was made (`recovery_log`).

A data set has none while its owner's identity is revoked. If another identity goes on in its place, the package says
which one, and by what card it is known.

No decision fails because of its package: what can't be packed is refused when it is registered (`require_packable`),
and what grew too large later (by hundreds of revoked releases) has no package from then on.

Nothing here opens a package. Whoever has enough shares does, which is why holders give them to attested brokers alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pydantic import ValidationError

from common.crypto.aead import seal_blob, seal_ring
from common.crypto.keys import SecretKey
from common.crypto.labels import RECOVERY_KEYS, RECOVERY_PACKAGE
from common.crypto.secret_sharing import split
from common.crypto.signing import SigningKey
from common.crypto.wrapping import wrap
from common.errors import FormatError
from common.identifiers import DatasetId, Digest
from common.key_binding import held_share_info
from common.messages.broker_identity import Genesis
from common.messages.decision_log import DecisionName, LogSubjects
from common.messages.log_heads import LogHead
from common.messages.policy import DataPolicy
from common.messages.recovery_package import HeldShare, RecoveredDataset, RecoveryPackage, SpentCounts
from common.messages.recovery_terms import RecoveryTerms
from common.messages.signed import Signed, sign
from services.attestation.decision_log import Decision
from services.attestation.ledger import ANSWER_BITS, ANSWERS, ATTEMPT_BITS, ATTEMPTS, JOBS, REPORT_BITS, tally_of
from services.attestation.parties import Parties
from services.attestation.records import DatasetRecord, RevokedReleaseRecord
from services.attestation.state import BrokerState

REFRESH_AFTER: Final = 64
"""Decisions after which a package is made anew all the same, oldest first, `REFRESHED_AT_ONCE` with each decision."""

REFRESHED_AT_ONCE: Final = 2
SIZE_CLASS_BYTES: Final = 16_384
"""Packages are padded to multiples of this: their length does not tell how much a policy allows."""

MAX_DOCUMENT_BYTES: Final = 1 << 17
"""Manifest and policy together: a package of them, written in base64 three times over, goes into one request."""

NOTHING: Final = b""

_CHANGES_NOTHING: Final = ("renew-lease", "issue-token", "appraise-evidence")
"""What is said of a job's launches, and nothing of its data."""


@dataclass(frozen=True)
class _Split:
    """A data set's secret of this boot and policy version, and its shares as they go out."""

    policy: Digest
    secret: SecretKey
    shares: tuple[HeldShare, ...]


class RecoveryPackages:
    """The packages of one boot; follows the state's decisions."""

    def __init__(self, state: BrokerState, signing_key: SigningKey) -> None:
        self._state, self._signing_key, self._parties = state, signing_key, Parties(state)
        self._splits: dict[DatasetId, _Split] = {}
        self._made_at: dict[DatasetId, int] = {}
        """Size of the log when each was made, oldest first."""

    def begin(self) -> None:
        """Make every package anew: the secrets of the boot before are gone."""
        for record in self._state.all(DatasetRecord):
            self._make(record)

    def follow(self, decision: Decision) -> None:
        """A decision was made: make anew what it changed, and what has become old."""
        touched = list(self._made_at) if decision.name == "revoke-release" else decision.subjects.datasets
        for name in touched:
            if changes_dataset(decision.name, decision.code, decision.subjects, name):
                self._make_named(name)
        for name, made_at in tuple(islice(self._made_at.items(), REFRESHED_AT_ONCE)):
            if self._state.log.size - made_at >= REFRESH_AFTER:
                self._make_named(name)

    def _make_named(self, name: DatasetId) -> None:
        record = self._state.find(DatasetRecord, name)
        if record is not None:  # a refused registration names what is not there
            self._make(record)

    def _make(self, record: DatasetRecord) -> None:
        terms, name = record.policy.recovery, record.dataset_id
        if record.keys is None or terms is None or self._parties.is_over(record.manifest.owner):
            if self._made_at.pop(name, None) is not None:
                del self._splits[name]
                self._state.keep_package(name, NOTHING)
            return
        split = self._splits.get(name)
        if split is None or split.policy != record.policy_document.digest:
            split = self._splits[name] = self._split(record, terms)
        try:
            package = sign(self._package(record, terms, split), self._signing_key).encode()
        except ValidationError:  # longer than any may be
            package = NOTHING
        self._state.keep_package(name, package)
        self._made_at.pop(name, None)
        self._made_at[name] = self._state.log.size

    def _split(self, record: DatasetRecord, terms: RecoveryTerms) -> _Split:
        secret, policy, version = SecretKey.generate(), record.policy_document.digest, record.policy.policy_version
        broker, epoch = self._state.identity.genesis.digest, self._state.log.epoch
        shares = (
            HeldShare(
                number=share.number,
                holder=holder.party,
                wrapped=share.wrap(
                    holder.wrapping_public,
                    held_share_info(broker, record.dataset_id, policy, version, epoch, holder.party),
                ),
                commitment=share.commitment(*share_context(broker, record.dataset_id, policy)),
            )
            for share, holder in zip(split(secret, terms.needed, len(terms.holders)), terms.holders, strict=True)
        )
        return _Split(policy, secret, tuple(shares))

    def _package(self, record: DatasetRecord, terms: RecoveryTerms, split: _Split) -> RecoveryPackage:
        genesis, head, policy = self._state.identity.genesis, self._state.log.head, record.policy_document.digest
        return RecoveryPackage(
            broker=genesis,
            dataset_id=record.dataset_id,
            policy=policy,
            policy_version=record.policy.policy_version,
            head=head,
            peaks=self._state.log.peaks,
            time=self._state.time,
            needed=terms.needed,
            shares=split.shares,
            sealed=self._sealed(record, split.secret, package_context(genesis, record.dataset_id, policy, head)),
        )

    def _sealed(self, record: DatasetRecord, secret: SecretKey, context: tuple[bytes, ...]) -> bytes:
        keys, name = record.keys or b"", record.dataset_id
        holder = self._parties.holder(record.manifest.owner)
        known = self._parties.find(holder)
        held = RecoveredDataset(
            manifest=record.manifest_document,
            policy=record.policy_document,
            holder=holder,
            card=None if known is None else known.card,
            keys=seal_ring(self._state.keys.open_ring(record.key, keys), secret, RECOVERY_KEYS, *context),
            spent=SpentCounts(
                jobs=self._state.tally(tally_of(JOBS, name)),
                attempts=self._state.tally(tally_of(ATTEMPTS, name)),
                attempt_bits=self._state.tally(tally_of(ATTEMPT_BITS, name)),
                answers=self._state.tally(tally_of(ANSWERS, name)),
                answer_bits=self._state.tally(tally_of(ANSWER_BITS, name)),
                report_bits=self._state.tally(tally_of(REPORT_BITS, name)),
            ),
            revoked_releases=tuple(self._revoked_releases()),
        ).encode()
        classes = -(-len(held) // SIZE_CLASS_BYTES)
        return seal_blob(secret, RECOVERY_PACKAGE, held.ljust(classes * SIZE_CLASS_BYTES), *context)

    def _revoked_releases(self) -> Iterator[Signed]:
        return (record.document for record in self._state.all(RevokedReleaseRecord))


def require_packable(manifest: Signed, policy: DataPolicy, document: Signed) -> None:
    """A data set whose policy names holders can be packed for them.

    Raises `FormatError`: a holder's wrapping key of the right length that is none, or documents that are too long.
    """
    if policy.recovery is None:
        return
    for holder in policy.recovery.holders:
        wrap(b"", holder.wrapping_public, b"")
    size = len(manifest.payload) + len(document.payload)
    if size > MAX_DOCUMENT_BYTES:
        raise FormatError("format.too_large", expected=f"at most {MAX_DOCUMENT_BYTES} bytes", seen=size)


def changes_dataset(name: DecisionName, code: str | None, subjects: LogSubjects, dataset_id: DatasetId) -> bool:
    """Whether a decision may have changed what a package of this data set holds."""
    if code is not None or name in _CHANGES_NOTHING:
        return False
    return name == "revoke-release" or dataset_id in subjects.datasets


def share_context(broker: Digest, dataset_id: DatasetId, policy: Digest) -> tuple[bytes, ...]:
    """What the commitment to a share is bound to."""
    return broker.raw(), dataset_id.encode(), policy.raw()


def package_context(genesis: Genesis, dataset_id: DatasetId, policy: Digest, head: LogHead) -> tuple[bytes, ...]:
    """What the sealed part of a package is bound to: its own public part."""
    numbers = (head.size.to_bytes(8, "big"), head.epoch.to_bytes(8, "big"))
    return genesis.digest.raw(), dataset_id.encode(), policy.raw(), head.root.raw(), *numbers
