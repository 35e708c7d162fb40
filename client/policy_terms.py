"""What an owner allows, in an owner's words, and the signed policy versions that say it (side: owner).

Version 1 of a data policy is signed before the upload, because the data key is wrapped under its digest. It allows
nobody anything. What is allowed comes in version 2 and later, each chained to the one before: refusal is the default,
and a forgotten option never opens anything.
"""

import time
from typing import Annotated

from pydantic import Field

from client.context import Party
from common.crypto.wrapping import wrap
from common.identifiers import Digest, PartyKey
from common.key_binding import policy_info
from common.messages.base import Count, Message
from common.messages.policy import DataPolicy, TrustLevelName
from common.messages.signed import Signed, open_signed, sign

SECONDS_PER_DAY = 86_400

TERMS_CLASS_BYTES = 16_384
"""Wrapped terms are padded to multiples of this, so that their length does not tell how many they allow."""


class PolicyTerms(Message):
    """The owner's choices. `bundles` empty means any bundle of `providers`; `days` is the policy's life from now."""

    providers: tuple[PartyKey, ...] = ()
    bundles: tuple[Digest, ...] = ()
    releases: tuple[Digest, ...] = ()
    revoked_releases: tuple[Digest, ...] = ()
    max_jobs: Count = 1
    max_attempts: Annotated[int, Field(ge=1, le=64)] = 8
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8
    answers_total: Count = 0
    grants_to_provider: bool = False
    days: Annotated[int, Field(ge=1, le=3650)] = 30


NOBODY = PolicyTerms(max_jobs=0)
"""The terms of every version 1."""


def minimal_trust_level(party: Party) -> TrustLevelName:
    """Real hardware, unless the identity was made for simulation."""
    return "simulation" if party.identity.unsafe_simulation else "sgx"


def sign_policy(party: Party, terms: PolicyTerms, previous: Signed | None = None) -> Signed:
    """The next version of a policy, chained to `previous`; version 1 when there is none."""
    before = None if previous is None else open_signed(previous, DataPolicy, [party.identity.signing_key.party])
    fields = terms.model_dump(exclude={"days"})
    policy = DataPolicy(
        **fields,
        policy_version=1 if before is None else before.policy_version + 1,
        previous=None if previous is None else previous.digest,
        owner=party.identity.signing_key.party,
        report_key=party.identity.report_key.public,
        unsafe_simulation=party.identity.unsafe_simulation,
        minimal_trust_level=minimal_trust_level(party),
        sandboxes=("native",),
        not_after=int(time.time()) + terms.days * SECONDS_PER_DAY,
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
    return wrap(plain.ljust(classes * TERMS_CLASS_BYTES), broker.wrapping_public, info)
