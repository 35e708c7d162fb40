"""The `info` under which each key is wrapped: what a wrapped key is bound to (side: library; ARCHITECTURE, decision 3).

A wrapped key opens only for the object, party, policy and broker that its maker named, so nobody can register foreign
ciphertext under a policy of his own.
"""

from common.crypto.digests import transcript
from common.crypto.labels import (
    WRAP_BUNDLE_KEY,
    WRAP_DATA_KEY,
    WRAP_GIVEN_SHARE,
    WRAP_HANDOVER,
    WRAP_HELD_SHARE,
    WRAP_KEY_GRANT,
    WRAP_LEDGER,
    WRAP_ORDER_SECRET,
    WRAP_POLICY,
    WRAP_PROVIDER_REPORT,
    WRAP_REASONS,
    WRAP_REFUSAL_DETAIL,
    WRAP_REPORT,
)
from common.identifiers import DatasetId, Digest, JobId, PartyKey


def data_key_info(manifest: Digest, owner: PartyKey, policy: Digest, broker: Digest) -> bytes:
    """Data key: digest of the signed data set manifest (hence all roots), owner, policy version 1, broker genesis."""
    return transcript(WRAP_DATA_KEY, manifest.raw(), owner.raw(), policy.raw(), broker.raw())


def bundle_key_info(publication: Digest, provider: PartyKey, terms: Digest, broker: Digest) -> bytes:
    """Bundle key: digest of the signed publication, provider, digest of the terms, broker genesis."""
    return transcript(WRAP_BUNDLE_KEY, publication.raw(), provider.raw(), terms.raw(), broker.raw())


def policy_info(party: PartyKey, policy: Digest, broker: Digest) -> bytes:
    """A policy or terms on the way to the broker: who signed it, its digest, broker genesis."""
    return transcript(WRAP_POLICY, party.raw(), policy.raw(), broker.raw())


def order_secret_info(nonce: bytes, owner: PartyKey, broker: PartyKey) -> bytes:
    """The sealed part of an order: the order's nonce, its first owner, the broker's signing key."""
    return transcript(WRAP_ORDER_SECRET, nonce, owner.raw(), broker.raw())


def key_grant_info(report_data: bytes) -> bytes:
    """Keys for one launch: the 64 bytes that its quote bound."""
    return transcript(WRAP_KEY_GRANT, report_data)


def handover_info(broker: Digest, heir: bytes) -> bytes:
    """The key of a broker's state at its handover: broker genesis, the heir's wrapping key (1216 bytes)."""
    return transcript(WRAP_HANDOVER, broker.raw(), heir)


def report_info(order: Digest, owner: PartyKey, sequence: int) -> bytes:
    """A report for one owner: order, owner, sequence number."""
    return transcript(WRAP_REPORT, order.raw(), owner.raw(), sequence.to_bytes(8, "big"))


def provider_report_info(job_id: JobId, provider: PartyKey) -> bytes:
    """A job's report to its provider: job, provider."""
    return transcript(WRAP_PROVIDER_REPORT, job_id.encode(), provider.raw())


def refusal_detail_info(request: Digest, party: PartyKey) -> bytes:
    """Expected and seen of a refusal: the refused request, the party entitled to them."""
    return transcript(WRAP_REFUSAL_DETAIL, request.raw(), party.raw())


def ledger_info(request: Digest, party: PartyKey) -> bytes:
    """A data set's ledger: digest of the signed request for it, its owner."""
    return transcript(WRAP_LEDGER, request.raw(), party.raw())


def reasons_info(request: Digest, party: PartyKey) -> bytes:
    """Why requests of others were refused: digest of the signed request for it, the party that signed."""
    return transcript(WRAP_REASONS, request.raw(), party.raw())


def held_share_info(
    broker: Digest, dataset: DatasetId, policy: Digest, version: int, epoch: int, holder: PartyKey
) -> bytes:
    """A recovery share with its holder: broker genesis, data set, digest and number of the policy version, epoch."""
    numbers = (version.to_bytes(8, "big"), epoch.to_bytes(8, "big"))
    return transcript(WRAP_HELD_SHARE, broker.raw(), dataset.encode(), policy.raw(), *numbers, holder.raw())


def given_share_info(package: Digest, successor: Digest, epoch: int, boot_nonce: bytes, holder: PartyKey) -> bytes:
    """A recovery share on its way: digest of the package, genesis, epoch and boot of the broker that will open it."""
    return transcript(
        WRAP_GIVEN_SHARE, package.raw(), successor.raw(), epoch.to_bytes(8, "big"), boot_nonce, holder.raw()
    )
