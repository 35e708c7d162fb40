"""What the parties' terms say, one question per function; refusal is the default (side: library).

Pure: documents whose signatures were checked, public facts and a time in; nothing out, or `PolicyError`. The key broker
decides by these, and `cloister policy try` holds past decisions against other terms by the same ones.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from common.errors import ConfinementError, FreshnessError, PolicyError
from common.identifiers import Digest, PartyKey
from common.messages.evidence import TrustLevel
from common.messages.objects import BundlePublication
from common.messages.order import TrainingOrder
from common.messages.policy import AnswerDetail, BundleTerms, DataPolicy, QueryGrant, RefusalReport

Names = Callable[[PartyKey], Collection[PartyKey]]
"""Every key by which a party is or was known: terms that name one of them mean that party."""


@dataclass(frozen=True)
class OrderFacts:
    """What an order is judged by. `at` is Unix time in seconds; `trust_level` is the broker's own."""

    owners: tuple[PartyKey, ...]
    provider: PartyKey
    bundle_root: Digest
    state_class: int
    release: Digest
    purpose: str
    sandbox: str
    trainers: int
    trust_level: TrustLevel
    at: int
    names: Names

    @classmethod
    def of(
        cls, order: TrainingOrder, publication: BundlePublication, trust_level: TrustLevel, at: int, names: Names
    ) -> Self:
        """Those of an order over a published bundle."""
        return cls(
            owners=order.owners,
            provider=publication.provider,
            bundle_root=publication.object.root,
            state_class=publication.state_class,
            release=order.release,
            purpose=order.purpose,
            sandbox=order.sandbox,
            trainers=order.trainers,
            trust_level=trust_level,
            at=at,
            names=names,
        )


@dataclass(frozen=True)
class Rule:
    """One question: `check(terms, *facts)` raises a refusal of one of these codes. `field` of the terms answers it."""

    field: str
    codes: tuple[str, ...]
    facts: tuple[str, ...]
    check: Callable[..., None]


def require_document_fits(terms: DataPolicy | BundleTerms, level: TrustLevel, *, production: bool) -> None:
    """A document is taken only on a platform that its party accepts; the code names who mends it.

    Real hardware refuses identities made for simulation; simulation needs one; nobody's minimum is undercut.
    """
    if production and terms.unsafe_simulation:
        raise PolicyError(_level_code(terms), expected="an identity for production", seen="unsafe_simulation")
    if level is TrustLevel.SIMULATION and not terms.unsafe_simulation:
        raise PolicyError(_level_code(terms), expected="an identity with unsafe_simulation", seen=level)
    require_level(terms, level)


def require_level(terms: DataPolicy | BundleTerms, level: TrustLevel) -> None:
    """The platform is at least what these terms demand."""
    if level.rank < TrustLevel(terms.minimal_trust_level).rank:
        raise PolicyError(_level_code(terms), expected=f"{terms.minimal_trust_level} or stronger", seen=level)


def _level_code(terms: DataPolicy | BundleTerms) -> str:
    return "policy.trust_level" if isinstance(terms, DataPolicy) else "policy.provider_terms"


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
    _require_release(terms, release)
    if isinstance(terms, DataPolicy):
        require_release_kept(terms, release)


def require_terms_unexpired(terms: BundleTerms, at: int) -> None:
    """The provider's terms are valid now."""
    if at > terms.not_after:
        raise PolicyError("policy.provider_terms", expected=f"valid at {at}", seen=f"until {terms.not_after}")


def require_owner_allows(policy: DataPolicy, facts: OrderFacts, jobs_before: int) -> None:
    """All that one data set's policy says about an order. `jobs_before` counts the jobs that used it already."""
    _require_all(OWNER_ORDER_RULES, policy, facts)
    require_job_left(policy, jobs_before)


def require_provider_allows(terms: BundleTerms, facts: OrderFacts) -> None:
    """All that a provider's terms say about an order."""
    _require_all(PROVIDER_ORDER_RULES, terms, facts)


def require_job_left(policy: DataPolicy, jobs_before: int) -> None:
    """The owner bounds how many orders are accepted."""
    if jobs_before >= policy.max_jobs:
        raise PolicyError("policy.jobs", expected=f"at most {policy.max_jobs} jobs", seen=jobs_before + 1)


def require_bits_left(policy: DataPolicy, spent: int, bits: int) -> None:
    """The policy covers `bits` beyond those that were charged already."""
    if policy.max_bits is not None and spent + bits > policy.max_bits:
        expected = f"at most {max(0, policy.max_bits - spent)} of {policy.max_bits} bits"
        raise PolicyError("policy.bits", expected=expected, seen=bits)


def require_sound_pair(sandbox: str, level: TrustLevel) -> None:
    """Native code is confined by a kernel, so it needs one inside the TEE, and an SGX enclave has none.

    See ARCHITECTURE, decision 15. Raises `ConfinementError` (confinement.pair).
    """
    if sandbox == "native" and level is TrustLevel.SGX:
        raise ConfinementError("confinement.pair", expected="sandbox wasm", seen=f"{sandbox} on {level}")


def require_sound_device(device: str, level: TrustLevel) -> None:
    """What a GPU computes with lies in its memory, open to its machine, and no GPU's own protection is attested here.

    So a GPU is no part of a hardware TEE: whoever asks for one gets none. See docs/gpu.md. Raises `ConfinementError`
    (confinement.pair).
    """
    if device != "cpu" and level.rank > TrustLevel.TPM_IMA.rank:
        raise ConfinementError("confinement.pair", expected="device cpu", seen=f"{device} on {level}")


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
    """The grant is for this model, unless it is for a name, under this broker and release, and its time is not over."""
    if grant.broker != broker:
        raise PolicyError("policy.broker", expected=broker, seen=grant.broker)
    named = manifest if grant.served is not None else grant.manifest
    if (named, grant.release) != (manifest, release):
        raise PolicyError("policy.grant", expected=(manifest, release), seen=(named, grant.release))
    if at > grant.not_after:
        raise FreshnessError("freshness.grant", expected=f"valid at {at}", seen=f"until {grant.not_after}")


def require_owner_admits(grant: QueryGrant, policy: DataPolicy, provider: PartyKey, names: Names) -> None:
    """The policy names the user, if it names any; the model's provider itself asks only where it says so."""
    require_user(policy, grant.user, names)
    require_not_provider(policy, grant.user, provider, names)


def require_provider_admits(grant: QueryGrant, terms: BundleTerms, names: Names) -> None:
    """The provider's terms name the user, if they name any."""
    require_user(terms, grant.user, names)


def require_user(terms: DataPolicy | BundleTerms, user: PartyKey, names: Names) -> None:
    """These terms name the user, if they name any."""
    if terms.users:
        code = "policy.user" if isinstance(terms, DataPolicy) else "policy.provider_terms"
        _require_party(user, terms.users, names, code)


def require_not_provider(policy: DataPolicy, user: PartyKey, provider: PartyKey, names: Names) -> None:
    """The model's provider itself asks only where the policy says so."""
    if user in names(provider) and not policy.grants_to_provider:
        raise PolicyError("policy.grant", expected="a user who is not the model's provider", seen=user)


def weakest_detail(*details: AnswerDetail) -> AnswerDetail:
    """What an answer may tell where each of these must allow it."""
    return "label" if "label" in details else "scores"


def weakest_report(*reports: RefusalReport) -> RefusalReport:
    """What a job's provider is told where each of these must allow it."""
    return "none" if "none" in reports else "classes"


def _require_provider(policy: DataPolicy, provider: PartyKey, names: Names) -> None:
    _require_party(provider, policy.providers, names, "policy.provider")


def _require_bundle(policy: DataPolicy, bundle_root: Digest) -> None:
    if policy.bundles:
        _require_named(bundle_root, policy.bundles, "policy.bundle")


def _require_release(terms: DataPolicy | BundleTerms, release: Digest) -> None:
    code = "policy.release" if isinstance(terms, DataPolicy) else "policy.provider_terms"
    _require_named(release, terms.releases, code)


def _require_purpose(policy: DataPolicy, purpose: str) -> None:
    _require_named(purpose, policy.purposes, "policy.purpose")


def _require_sandbox(policy: DataPolicy, sandbox: str) -> None:
    _require_named(sandbox, policy.sandboxes, "policy.sandbox")


def _require_min_trainers(policy: DataPolicy, trainers: int) -> None:
    if trainers < policy.min_trainers:
        raise PolicyError("policy.slots", expected=_trainers(policy), seen=trainers)


def _require_max_trainers(policy: DataPolicy, trainers: int) -> None:
    if trainers > policy.max_trainers:
        raise PolicyError("policy.slots", expected=_trainers(policy), seen=trainers)


def _trainers(policy: DataPolicy) -> str:
    return f"{policy.min_trainers} to {policy.max_trainers} trainers"


def _require_size(policy: DataPolicy, state_class: int) -> None:
    if policy.max_state_class is not None and state_class > policy.max_state_class:
        raise PolicyError("policy.size", expected=f"at most {policy.max_state_class}", seen=state_class)


def _require_owners(terms: BundleTerms, owners: tuple[PartyKey, ...], names: Names) -> None:
    unnamed = [owner for owner in owners if not set(names(owner)).intersection(terms.owners)]
    if terms.owners and unnamed:
        raise PolicyError("policy.provider_terms", expected="owners that the terms name", seen=unnamed)


def _require_party(party: PartyKey, allowed: Collection[PartyKey], names: Names, code: str) -> None:
    if not set(names(party)).intersection(allowed):
        raise PolicyError(code, expected=f"one of {sorted(allowed)}", seen=party)


def _require_named(seen: object, allowed: Collection[object], code: str) -> None:
    if seen not in allowed:
        raise PolicyError(code, expected=f"one of {sorted(map(str, allowed))}", seen=seen)


def _require_all(rules: Sequence[Rule], terms: DataPolicy | BundleTerms, facts: OrderFacts) -> None:
    for rule in rules:
        rule.check(terms, *(getattr(facts, name) for name in rule.facts))


OWNER_ORDER_RULES: Final = (
    Rule("not_after", ("policy.expired",), ("at",), require_unexpired),
    Rule("providers", ("policy.provider",), ("provider", "names"), _require_provider),
    Rule("bundles", ("policy.bundle",), ("bundle_root",), _require_bundle),
    Rule("releases", ("policy.release",), ("release",), _require_release),
    Rule("revoked_releases", ("policy.release",), ("release",), require_release_kept),
    Rule("purposes", ("policy.purpose",), ("purpose",), _require_purpose),
    Rule("sandboxes", ("policy.sandbox",), ("sandbox",), _require_sandbox),
    Rule("min_trainers", ("policy.slots",), ("trainers",), _require_min_trainers),
    Rule("max_trainers", ("policy.slots",), ("trainers",), _require_max_trainers),
    Rule("max_state_class", ("policy.size",), ("state_class",), _require_size),
    Rule("minimal_trust_level", ("policy.trust_level",), ("trust_level",), require_level),
)
"""Of an owner's policy about an order, in the order in which they are asked; its counters come after them."""

PROVIDER_ORDER_RULES: Final = (
    Rule("not_after", ("policy.provider_terms",), ("at",), require_terms_unexpired),
    Rule("owners", ("policy.provider_terms",), ("owners", "names"), _require_owners),
    Rule("releases", ("policy.provider_terms",), ("release",), _require_release),
    Rule("minimal_trust_level", ("policy.provider_terms",), ("trust_level",), require_level),
)
"""Of a provider's terms about an order."""
