"""What the parties' terms say, one question per function; refusal is the default (side: enclave).

Pure: documents whose signatures were checked, public facts and a time in; nothing out, or `PolicyError`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from common.errors import ConfinementError, FreshnessError, PolicyError
from common.identifiers import Digest, PartyKey
from common.messages.evidence import TrustLevel
from common.messages.objects import BundlePublication
from common.messages.order import TrainingOrder
from common.messages.policy import AnswerDetail, BundleTerms, DataPolicy, QueryGrant


@dataclass(frozen=True)
class OrderFacts:
    """What an order is judged by. `at` is Unix time in seconds; `trust_level` is the broker's own."""

    order: TrainingOrder
    publication: BundlePublication
    trust_level: TrustLevel
    at: int


def require_document_fits(terms: DataPolicy | BundleTerms, level: TrustLevel, *, production: bool) -> None:
    """A document is taken only on a platform that its party accepts (policy.trust_level):

    real hardware refuses identities made for simulation; simulation needs one; nobody's minimum is undercut.
    """
    if production and terms.unsafe_simulation:
        raise PolicyError("policy.trust_level", expected="an identity for production", seen="unsafe_simulation")
    if level is TrustLevel.SIMULATION and not terms.unsafe_simulation:
        raise PolicyError("policy.trust_level", expected="an identity with unsafe_simulation", seen=level)
    require_level(terms, level)


def require_level(terms: DataPolicy | BundleTerms, level: TrustLevel) -> None:
    """The platform is at least what these terms demand."""
    if level.rank < TrustLevel(terms.minimal_trust_level).rank:
        raise PolicyError("policy.trust_level", expected=f"{terms.minimal_trust_level} or stronger", seen=level)


def require_unexpired(policy: DataPolicy, at: int) -> None:
    """The owner's policy is valid now."""
    if at > policy.not_after:
        raise PolicyError("policy.expired", expected=f"valid at {at}", seen=f"until {policy.not_after}")


def require_release_kept(policy: DataPolicy, release: Digest) -> None:
    """The owner has not revoked the release for this data; running jobs and models are held against it, too."""
    if release in policy.revoked_releases:
        raise PolicyError("policy.release", expected="a release that the owner has not revoked", seen=release)


def require_release_accepted(terms: DataPolicy | BundleTerms, release: Digest) -> None:
    """These terms name the release, for a broker that is to hold their keys."""
    if isinstance(terms, DataPolicy):
        _require_named(release, terms.releases, "policy.release")
        require_release_kept(terms, release)
    else:
        _require_named(release, terms.releases, "policy.provider_terms")


def require_terms_unexpired(terms: BundleTerms, at: int) -> None:
    """The provider's terms are valid now."""
    if at > terms.not_after:
        raise PolicyError("policy.provider_terms", expected=f"valid at {at}", seen=f"until {terms.not_after}")


def require_owner_allows(policy: DataPolicy, facts: OrderFacts, jobs_before: int) -> None:
    """All that one data set's policy says about an order. `jobs_before` counts the jobs that used it already."""
    order, publication = facts.order, facts.publication
    require_unexpired(policy, facts.at)
    _require_named(publication.provider, policy.providers, "policy.provider")
    if policy.bundles:
        _require_named(publication.object.root, policy.bundles, "policy.bundle")
    _require_named(order.release, policy.releases, "policy.release")
    require_release_kept(policy, order.release)
    _require_named(order.purpose, policy.purposes, "policy.purpose")
    _require_named(order.sandbox, policy.sandboxes, "policy.sandbox")
    if not policy.min_trainers <= order.trainers <= policy.max_trainers:
        expected = f"{policy.min_trainers} to {policy.max_trainers} trainers"
        raise PolicyError("policy.slots", expected=expected, seen=order.trainers)
    if policy.max_state_class is not None and publication.state_class > policy.max_state_class:
        raise PolicyError("policy.size", expected=f"at most {policy.max_state_class}", seen=publication.state_class)
    if jobs_before >= policy.max_jobs:
        raise PolicyError("policy.jobs", expected=f"at most {policy.max_jobs} jobs", seen=jobs_before + 1)
    require_level(policy, facts.trust_level)


def require_provider_allows(terms: BundleTerms, facts: OrderFacts) -> None:
    """All that a provider's terms say about an order."""
    require_terms_unexpired(terms, facts.at)
    if terms.owners and not set(facts.order.owners) <= set(terms.owners):
        raise PolicyError("policy.provider_terms", expected="owners that the terms name", seen=facts.order.owners)
    _require_named(facts.order.release, terms.releases, "policy.provider_terms")
    require_level(terms, facts.trust_level)


def require_sound_pair(sandbox: str, level: TrustLevel) -> None:
    """Native code is confined by a kernel, so it needs one inside the TEE, and an SGX enclave has none.

    See ARCHITECTURE, decision 15. Raises `ConfinementError` (confinement.pair).
    """
    if sandbox == "native" and level is TrustLevel.SGX:
        raise ConfinementError("confinement.pair", expected="sandbox wasm", seen=f"{sandbox} on {level}")


def require_attempt_left(policy: DataPolicy, attempt: int) -> None:
    """Each launch of a slot lets provider code see the data again, so every owner bounds their number."""
    if attempt > policy.max_attempts:
        raise PolicyError("policy.attempts", expected=f"at most {policy.max_attempts} attempts", seen=attempt)


def require_measurement(terms: DataPolicy | BundleTerms, measurement: str) -> None:
    """These terms allow this code, where they name measurements beside releases."""
    if terms.measurements:
        code = "policy.measurement" if isinstance(terms, DataPolicy) else "policy.provider_terms"
        _require_named(measurement, terms.measurements, code)


def allowed_columns(policies: Sequence[DataPolicy]) -> tuple[str, ...] | None:
    """The columns that all versions of one data set's policy allow; None where none of them names any."""
    named = [policy.columns for policy in policies if policy.columns]
    return tuple(column for column in named[0] if all(column in one for one in named)) if named else None


def require_grant_names(grant: QueryGrant, *, manifest: Digest, broker: PartyKey, release: Digest, at: int) -> None:
    """The grant is for this model, under this broker and release, and its time is not over."""
    if grant.broker != broker:
        raise PolicyError("policy.broker", expected=broker, seen=grant.broker)
    if (grant.manifest, grant.release) != (manifest, release):
        raise PolicyError("policy.grant", expected=(manifest, release), seen=(grant.manifest, grant.release))
    if at > grant.not_after:
        raise FreshnessError("freshness.grant", expected=f"valid at {at}", seen=f"until {grant.not_after}")


def require_owner_admits(grant: QueryGrant, policy: DataPolicy, provider: PartyKey) -> None:
    """The policy names the user, if it names any; the model's provider itself asks only where it says so."""
    if policy.users:
        _require_named(grant.user, policy.users, "policy.user")
    if grant.user == provider and not policy.grants_to_provider:
        raise PolicyError("policy.grant", expected="a user who is not the model's provider", seen=grant.user)


def require_provider_admits(grant: QueryGrant, terms: BundleTerms) -> None:
    """The provider's terms name the user, if they name any."""
    if terms.users:
        _require_named(grant.user, terms.users, "policy.provider_terms")


def weakest_detail(*details: AnswerDetail) -> AnswerDetail:
    """What an answer may tell where each of these must allow it."""
    return "label" if "label" in details else "scores"


def _require_named(seen: object, allowed: Collection[object], code: str) -> None:
    if seen not in allowed:
        raise PolicyError(code, expected=f"one of {sorted(map(str, allowed))}", seen=seen)
