"""A provider retires a bundle: no new order may name it (side: enclave).

Unlike a revocation it ends nothing: keys stay, running jobs go on, their models and those that were made before are
asked as the terms say. A bundle once retired stays so; publishing it under other terms makes another bundle.
"""

from common.errors import PolicyError
from common.messages.policy import BundleRetirement
from common.messages.registration import BundleRetired, RetireBundle
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_bundle
from services.attestation.records import BundleRecord, RetiredBundleRecord, retired_bundle_key


def retire_bundle(broker: BrokerContext, body: RetireBundle, at: int) -> BundleRetired:
    """Take a provider's signed word; the same again, or another of the same bundle, is answered alike.

    Raises `AuthenticityError`, `PolicyError` (policy.signer, policy.broker, policy.revoked) or `NotFoundError`.
    """
    party = BundleRetirement.decode(body.retirement.payload).party
    broker.parties.require_in_force(party)
    retirement = open_signed(body.retirement, BundleRetirement, [party])
    if retirement.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=retirement.broker)
    bundle = broker.bundle(retirement.bundle)
    provider = broker.parties.holder(bundle.publication.provider)
    if party != provider:
        raise PolicyError("policy.signer", expected=provider, seen=party)
    known = _retirement(broker, bundle)
    if known is None:
        broker.require_unrevoked([bundle])
        subjects = of_bundle(broker, bundle, document=body.retirement.digest, signers=(party,))
        record = RetiredBundleRecord(bundle_id=bundle.bundle_id, document=body.retirement)
        broker.state.commit(Decision("retire-bundle", subjects), at, record)
    counts = body.retirement if known is None else known.document
    return BundleRetired(bundle_id=bundle.bundle_id, document=counts.digest)


def require_not_retired(broker: BrokerContext, bundle: BundleRecord) -> None:
    """Raise `PolicyError` (policy.retired) for a bundle that takes no new order."""
    if _retirement(broker, bundle) is not None:
        raise PolicyError(
            "policy.retired", expected="a bundle that its provider has not retired", seen=bundle.bundle_id
        )


def _retirement(broker: BrokerContext, bundle: BundleRecord) -> RetiredBundleRecord | None:
    return broker.state.find(RetiredBundleRecord, retired_bundle_key(bundle.bundle_id))
