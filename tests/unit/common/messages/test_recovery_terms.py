"""Holders that a policy may not name: too few, one key twice, the operator's people alone."""

from typing import Any

import pytest
from pydantic import ValidationError

from common.crypto.wrapping import WRAPPING_PUBLIC_BYTES
from common.identifiers import PartyKey
from common.messages.policy import DataPolicy
from common.messages.recovery_terms import RecoveryHolder, RecoveryTerms
from tests.vectors.sample_documents import POLICY

A, B, C = (PartyKey(digit * 64) for digit in "abc")


def holder(party: PartyKey, key: int = 0) -> RecoveryHolder:
    return RecoveryHolder(party=party, wrapping_public=bytes([key or int(party[0], 16)]) * WRAPPING_PUBLIC_BYTES)


THREE = (holder(A), holder(B), holder(C))


@pytest.mark.parametrize(
    "fields",
    [
        {"holders": THREE, "needed": 1},
        {"holders": THREE, "needed": 4},
        {"holders": THREE[:1], "needed": 2},
        {"holders": (holder(A), holder(A, 1)), "needed": 2},
        {"holders": (holder(A, 1), holder(B, 1)), "needed": 2},
        {"holders": THREE, "needed": 2, "of_operator": (A, B)},
        {"holders": THREE, "needed": 3, "of_operator": (A, B, C)},
        {"holders": THREE, "needed": 2, "of_operator": (PartyKey("d" * 64),)},
    ],
)
def test_what_would_leave_it_to_one_or_to_the_operator_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RecoveryTerms(**fields)


def test_one_of_the_operators_may_be_among_them() -> None:
    assert RecoveryTerms(holders=THREE, needed=2, of_operator=(B,)).parties == (A, B, C)


def test_a_provider_counts_as_the_operators() -> None:
    """Provider and operator may be one: with one of each, two shares are not enough people."""
    fields = {name: getattr(POLICY, name) for name in DataPolicy.model_fields}
    named = RecoveryTerms(holders=THREE, needed=2, of_operator=(B,))
    for providers, refused in (((), False), ((B,), False), ((A,), True)):
        changed = fields | {"recovery": named, "providers": providers, "approvers": (), "approvals_needed": 0}
        if refused:
            with pytest.raises(ValidationError, match="fewer than the shares"):
                DataPolicy(**changed)
        else:
            DataPolicy(**changed)
