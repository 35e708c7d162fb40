"""What an owner or provider allows, in its own words, and the signed versions that say it (side: owner).

Version 1 of a data policy is signed before the upload, because the data key is wrapped under its digest. It allows
nobody anything. What is allowed comes in version 2 and later, each chained to the one before: refusal is the default,
and a forgotten option never opens anything. Version 1 of a bundle's terms is what it is published under.
"""

import time
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from client.context import Party
from common.bundle import ColumnName
from common.crypto.wrapping import wrap
from common.errors import NotFoundError
from common.identifiers import BundleId, CodeMeasurement, DatasetId, Digest, PartyKey
from common.key_binding import policy_info
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.base import Count, Message, Seconds
from common.messages.objects import BundlePublication
from common.messages.policy import AnswerDetail, BundleTerms, DataPolicy, RefusalReport, TrustLevelName
from common.messages.recovery_terms import HolderCard, RecoveryHolder, RecoveryTerms
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.signed import Signed, open_signed, sign
from common.messages.tcb_terms import TcbTerms

SECONDS_PER_DAY = 86_400
_SIGNED_OTHERWISE = frozenset({"days", "minimal_trust_level", "not_after", "recovery"})

TERMS_CLASS_BYTES = 16_384
"""Wrapped terms are padded to multiples of this, so that their length does not tell how many they allow."""


Thing = DatasetId | BundleId
"""What policies and terms are over."""


class PartyTerms(Message):
    """What owners and providers both choose. `releases` empty: the pinned one. `minimal_trust_level` None: real
    hardware, unless the identity was made for simulation. `not_after` None: `days` from now. The next version wants
    the signatures of `approvals_needed` of `approvers`.
    """

    releases: tuple[Digest, ...] = ()
    measurements: tuple[CodeMeasurement, ...] = ()
    minimal_trust_level: TrustLevelName | None = None
    tcb: TcbTerms = TcbTerms()
    users: tuple[PartyKey, ...] = ()
    detail: AnswerDetail = "scores"
    answer_bounds: AnswerBounds = NO_ANSWER_BOUNDS
    not_after: Seconds | None = None
    approvers: tuple[PartyKey, ...] = ()
    approvals_needed: Count = 0

    def under(self, release: Digest) -> Self:
        """These terms; they allow `release` where they name none."""
        return self.model_copy(update={"releases": self.releases or (release,)})

    def end(self, days: int) -> int:
        """When the terms end."""
        return int(time.time()) + days * SECONDS_PER_DAY if self.not_after is None else self.not_after


class RecoveryWishes(Message):
    """Who holds recovery shares, by signing key, under the names of `RecoveryTerms`."""

    holders: tuple[PartyKey, ...]
    of_operator: tuple[PartyKey, ...] = ()
    needed: Count

    @classmethod
    def of(cls, terms: RecoveryTerms) -> Self:
        """The wishes that a policy states."""
        return cls(holders=terms.parties, of_operator=terms.of_operator, needed=terms.needed)


class PolicyTerms(PartyTerms):
    """The owner's choices, under the names of `DataPolicy`. `bundles` empty means any bundle of `providers`."""

    providers: tuple[PartyKey, ...] = ()
    bundles: tuple[Digest, ...] = ()
    revoked_releases: tuple[Digest, ...] = ()
    purposes: tuple[Literal["training", "refining"], ...] = ("training",)
    sandboxes: tuple[Literal["native", "wasm"], ...] = ("native",)
    sandbox_bounds: SandboxBounds = SandboxBounds()
    max_jobs: Count = 1
    max_attempts: Annotated[int, Field(ge=1, le=64)] = 8
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8
    max_state_class: Annotated[int, Field(ge=1, le=1 << 32)] | None = None
    columns: tuple[ColumnName, ...] = ()
    answers_total: Count = 0
    grants_to_provider: bool = False
    refusal_report: RefusalReport = "none"
    max_bits: Count | None = None
    recovery: RecoveryWishes | None = None
    days: Annotated[int, Field(ge=1, le=3650)] = 30

    @classmethod
    def of(cls, policy: DataPolicy) -> Self:
        """The choices that a policy states."""
        named = {name: getattr(policy, name) for name in cls.model_fields if name not in {"days", "recovery"}}
        return cls(**named, recovery=None if policy.recovery is None else RecoveryWishes.of(policy.recovery))


class ProviderTerms(PartyTerms):
    """The provider's choices, under the names of `BundleTerms`. Empty `owners` and `users` mean anybody."""

    owners: tuple[PartyKey, ...] = ()
    answers_total: Count = 1_000_000
    days: Annotated[int, Field(ge=1, le=3650)] = 365

    @classmethod
    def of(cls, terms: BundleTerms) -> Self:
        """The choices that signed terms state."""
        return cls(**{name: getattr(terms, name) for name in cls.model_fields if name != "days"})


NOBODY = PolicyTerms(max_jobs=0)
"""The terms of every version 1."""


def minimal_trust_level(party: Party) -> TrustLevelName:
    """Real hardware, unless the identity was made for simulation."""
    return "simulation" if party.identity.unsafe_simulation else "sgx"


def sign_policy(party: Party, terms: PolicyTerms, previous: Signed | None = None) -> Signed:
    """The next version of a policy, chained to `previous`; version 1 when there is none."""
    return sign(policy_of(party, terms, previous), party.identity.signing_key)


def policy_of(party: Party, terms: PolicyTerms, previous: Signed | None = None) -> DataPolicy:
    """What `sign_policy` signs. `previous` may be that of an identity that this one has replaced: the data set keeps
    the name of its first owner.
    """
    before = None if previous is None else open_signed(previous, DataPolicy, party.own_keys)
    return DataPolicy(
        **_signed_fields(party, terms, before, previous),
        owner=party.identity.signing_key.party if before is None else before.owner,
        recovery=None if terms.recovery is None else _with_cards(party, terms.recovery),
    )


def sign_terms(party: Party, terms: ProviderTerms, previous: Signed | None = None) -> Signed:
    """The next version of a bundle's terms, chained to `previous`; version 1 when there is none."""
    return sign(terms_of_bundle(party, terms, previous), party.identity.signing_key)


def terms_of_bundle(party: Party, terms: ProviderTerms, previous: Signed | None = None) -> BundleTerms:
    """What `sign_terms` signs. Like a data set, a bundle keeps the name of its first provider."""
    before = None if previous is None else open_signed(previous, BundleTerms, party.own_keys)
    provider = party.identity.signing_key.party if before is None else before.provider
    return BundleTerms(**_signed_fields(party, terms, before, previous), provider=provider)


def _signed_fields(
    party: Party, terms: PolicyTerms | ProviderTerms, before: DataPolicy | BundleTerms | None, previous: Signed | None
) -> dict[str, Any]:
    """What both kinds of documents say of the choices, their place in the chain, and the party's identity."""
    chosen = {name: getattr(terms, name) for name in type(terms).model_fields if name not in _SIGNED_OTHERWISE}
    return chosen | {
        "policy_version": 1 if before is None else before.policy_version + 1,
        "previous": None if previous is None else previous.digest,
        "report_key": party.identity.report_key.public,
        "unsafe_simulation": party.identity.unsafe_simulation,
        "minimal_trust_level": terms.minimal_trust_level or minimal_trust_level(party),
        "not_after": terms.end(terms.days),
    }


def keep_policy(party: Party, thing: Thing, policy: Signed) -> None:
    """Store a version that is in force: as the thing's newest, and under its digest, as the log names it."""
    party.keep_document("versions", policy.digest, policy)
    party.keep_document("policies", thing, policy)


def newest_policy(party: Party, thing: Thing) -> Signed:
    """The newest version that was put in force from this directory. Raises `NotFoundError`."""
    newest = party.document("policies", thing)
    if newest is None and isinstance(thing, BundleId):
        newest = _first_terms(party, thing)
    if newest is not None:
        return newest
    if isinstance(thing, BundleId):
        raise NotFoundError("not_found.bundle", expected="a bundle that was published from this identity directory")
    raise NotFoundError("not_found.dataset", expected="a data set that was uploaded from this identity directory")


def _first_terms(party: Party, bundle_id: BundleId) -> Signed | None:
    """Version 1 of a bundle that an earlier `cloister` published, which kept it under the object's root alone."""
    document = party.document("publications", bundle_id)
    if document is None:
        return None
    publication = BundlePublication.decode(document.payload)
    first = party.document("policies", publication.object.root)
    return first if first is not None and first.digest == publication.terms else None


def read_terms(signed: Signed) -> DataPolicy | BundleTerms:
    """An owner's policy or a provider's terms; whether its signatures are right is the caller's to find out."""
    return (DataPolicy if signed.payload_type == "data-policy" else BundleTerms).decode(signed.payload)


def chosen_terms(signed: Signed) -> PolicyTerms | ProviderTerms:
    """The choices that it states."""
    terms = read_terms(signed)
    return PolicyTerms.of(terms) if isinstance(terms, DataPolicy) else ProviderTerms.of(terms)


def _with_cards(party: Party, wishes: RecoveryWishes) -> RecoveryTerms:
    """Each holder's wrapping key, from the card that this party keeps. Raises `NotFoundError` (not_found.holder)."""
    holders = tuple(_holder(party, one) for one in wishes.holders)
    return RecoveryTerms(holders=holders, of_operator=wishes.of_operator, needed=wishes.needed)


def _holder(party: Party, key: PartyKey) -> RecoveryHolder:
    document = party.document("holders", key)
    if document is None:
        raise NotFoundError("not_found.holder", expected=f"a card of {key}")
    card = open_signed(document, HolderCard, [key])
    return RecoveryHolder(party=card.party, wrapping_public=card.wrapping_public)


def policy_version(policy: Signed) -> int:
    """Version number of a policy, or terms, that this party signed."""
    return read_terms(policy).policy_version


def wrap_policy(party: Party, policy: Signed) -> bytes:
    """The signed policy, or a provider's terms, for the pinned broker alone; the host sees digest and size class.

    The padding is spaces, which JSON ignores.
    """
    broker, plain = party.trust.broker, policy.encode()
    info = policy_info(read_terms(policy).party, policy.digest, broker.digest)
    classes = -(-len(plain) // TERMS_CLASS_BYTES)
    return wrap(plain.ljust(classes * TERMS_CLASS_BYTES), party.broker_key, info)
