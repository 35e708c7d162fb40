"""What an owner allows, in an owner's words, and the signed policy versions that say it (side: owner).

Version 1 of a data policy is signed before the upload, because the data key is wrapped under its digest. It allows
nobody anything. What is allowed comes in version 2 and later, each chained to the one before: refusal is the default,
and a forgotten option never opens anything.
"""

import time
from typing import Annotated, Literal, Self

from pydantic import Field

from client.context import Party
from common.bundle import ColumnName
from common.crypto.wrapping import wrap
from common.identifiers import Digest, PartyKey
from common.key_binding import policy_info
from common.messages.base import Count, Message, Seconds
from common.messages.policy import AnswerDetail, CodeMeasurement, DataPolicy, TrustLevelName
from common.messages.signed import Signed, open_signed, sign
from common.messages.tcb_terms import TcbTerms

SECONDS_PER_DAY = 86_400

TERMS_CLASS_BYTES = 16_384
"""Wrapped terms are padded to multiples of this, so that their length does not tell how many they allow."""


class PartyTerms(Message):
    """What owners and providers both choose. `releases` empty: the pinned one. `minimal_trust_level` None: real
    hardware, unless the identity was made for simulation. `not_after` None: `days` from now.
    """

    releases: tuple[Digest, ...] = ()
    measurements: tuple[CodeMeasurement, ...] = ()
    minimal_trust_level: TrustLevelName | None = None
    tcb: TcbTerms = TcbTerms()
    users: tuple[PartyKey, ...] = ()
    detail: AnswerDetail = "scores"
    not_after: Seconds | None = None

    def end(self, days: int) -> int:
        """When the terms end."""
        return int(time.time()) + days * SECONDS_PER_DAY if self.not_after is None else self.not_after


class PolicyTerms(PartyTerms):
    """The owner's choices, under the names of `DataPolicy`. `bundles` empty means any bundle of `providers`."""

    providers: tuple[PartyKey, ...] = ()
    bundles: tuple[Digest, ...] = ()
    revoked_releases: tuple[Digest, ...] = ()
    purposes: tuple[Literal["training", "refining"], ...] = ("training",)
    sandboxes: tuple[Literal["native", "wasm"], ...] = ("native",)
    max_jobs: Count = 1
    max_attempts: Annotated[int, Field(ge=1, le=64)] = 8
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8
    max_state_class: Annotated[int, Field(ge=1, le=1 << 32)] | None = None
    columns: tuple[ColumnName, ...] = ()
    answers_total: Count = 0
    grants_to_provider: bool = False
    max_bits: Count | None = None
    approvers: tuple[PartyKey, ...] = ()
    approvals_needed: Count = 0
    days: Annotated[int, Field(ge=1, le=3650)] = 30

    @classmethod
    def of(cls, policy: DataPolicy) -> Self:
        """The choices that a policy states."""
        return cls(**{name: getattr(policy, name) for name in cls.model_fields if name != "days"})


class ProviderTerms(PartyTerms):
    """The provider's choices, under the names of `BundleTerms`. Empty `owners` and `users` mean anybody."""

    owners: tuple[PartyKey, ...] = ()
    answers_total: Count = 1_000_000
    days: Annotated[int, Field(ge=1, le=3650)] = 365


NOBODY = PolicyTerms(max_jobs=0)
"""The terms of every version 1."""


def minimal_trust_level(party: Party) -> TrustLevelName:
    """Real hardware, unless the identity was made for simulation."""
    return "simulation" if party.identity.unsafe_simulation else "sgx"


def sign_policy(party: Party, terms: PolicyTerms, previous: Signed | None = None) -> Signed:
    """The next version of a policy, chained to `previous`; version 1 when there is none."""
    before = None if previous is None else open_signed(previous, DataPolicy, [party.identity.signing_key.party])
    chosen = {name: getattr(terms, name) for name in type(terms).model_fields}
    policy = DataPolicy(
        **{name: value for name, value in chosen.items() if name not in {"days", "minimal_trust_level", "not_after"}},
        policy_version=1 if before is None else before.policy_version + 1,
        previous=None if previous is None else previous.digest,
        owner=party.identity.signing_key.party,
        report_key=party.identity.report_key.public,
        unsafe_simulation=party.identity.unsafe_simulation,
        minimal_trust_level=terms.minimal_trust_level or minimal_trust_level(party),
        not_after=terms.end(terms.days),
    )
    return sign(policy, party.identity.signing_key)


def policy_version(policy: Signed) -> int:
    """Version number of a policy that this party signed."""
    return DataPolicy.decode(policy.payload).policy_version


def wrap_policy(party: Party, policy: Signed) -> bytes:
    """The signed policy, or a provider's terms, for the pinned broker alone; the host sees digest and size class.

    The padding is spaces, which JSON ignores.
    """
    broker, plain = party.trust.broker, policy.encode()
    info = policy_info(party.identity.signing_key.party, policy.digest, broker.digest)
    classes = -(-len(plain) // TERMS_CLASS_BYTES)
    return wrap(plain.ljust(classes * TERMS_CLASS_BYTES), party.broker_key, info)
