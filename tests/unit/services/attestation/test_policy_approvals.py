"""Where a policy asks for approvals, the next version carries them, whatever it says itself."""

from typing import Any

import pytest

from common.errors import AuthenticityError, PolicyError
from common.messages.policy import DataPolicy
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import BrokerWorld, Party, SealedData

APPROVERS = [Party() for _ in range(3)]


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    """A data set whose version 1 demands two of three."""
    return world.register_data(approvers=tuple(one.party for one in APPROVERS), approvals_needed=2)


def following(world: BrokerWorld, data: SealedData, *signers: Party, **changes: Any) -> Signed:
    newest = world.context.dataset(data.dataset_id).policy_document
    before = DataPolicy.decode(newest.payload)
    terms = {
        "policy_version": before.policy_version + 1, "previous": newest.digest, "approvers": before.approvers,
        "approvals_needed": before.approvals_needed,
    } | changes  # fmt: skip
    return sign(world.policy_terms(data.owner, **terms), *(one.key for one in signers))


def update(world: BrokerWorld, data: SealedData, policy: Signed) -> None:
    world.channel(data.owner).ask(world.policy_update(data, policy), Registered)


@pytest.mark.parametrize(
    "approving", [[], APPROVERS[:1], [APPROVERS[0], APPROVERS[0]], [APPROVERS[0], Party()], [Party(), Party()]]
)
def test_too_few_approvals_change_nothing(world: BrokerWorld, data: SealedData, approving: list[Party]) -> None:
    with pytest.raises(PolicyError, match="policy.approvals") as told:
        update(world, data, following(world, data, data.owner, *approving, max_jobs=99))
    assert told.value.expected is not None
    assert told.value.expected.startswith("signatures of 2 of")
    assert world.context.dataset(data.dataset_id).policy.max_jobs == 5


def test_any_two_of_three_approve(world: BrokerWorld, data: SealedData) -> None:
    for two in (APPROVERS[:2], APPROVERS[1:], [APPROVERS[2], APPROVERS[0]]):
        update(world, data, following(world, data, data.owner, *two))
    assert world.context.dataset(data.dataset_id).policy.policy_version == 4


def test_approvers_change_nothing_without_the_owner(world: BrokerWorld, data: SealedData) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        update(world, data, following(world, data, *APPROVERS))


def test_a_version_does_not_excuse_itself(world: BrokerWorld, data: SealedData) -> None:
    with pytest.raises(PolicyError, match="policy.approvals"):
        update(world, data, following(world, data, data.owner, approvers=(), approvals_needed=0))
    own = Party()
    with pytest.raises(PolicyError, match="policy.approvals"):
        update(world, data, following(world, data, data.owner, own, approvers=(own.party,), approvals_needed=1))
    update(world, data, following(world, data, data.owner, *APPROVERS[:2], approvers=(), approvals_needed=0))
    update(world, data, following(world, data, data.owner))


def test_a_forged_approval_refuses_the_whole_document(world: BrokerWorld, data: SealedData) -> None:
    good = following(world, data, data.owner, *APPROVERS[:2])
    other = following(world, data, data.owner, *APPROVERS[:2], max_jobs=7)
    mixed = Signed(
        payload_type=good.payload_type, payload=good.payload,
        signatures=(*good.signatures[:1], *other.signatures[1:]),
    )  # fmt: skip
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        update(world, data, mixed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"approvals_needed": 1},
        {"approvers": (APPROVERS[0].party, APPROVERS[0].party), "approvals_needed": 1},
        {"approvers": "owner", "approvals_needed": 1},
    ],
)
def test_a_quorum_that_cannot_be_had_is_no_policy(world: BrokerWorld, wrong: dict[str, Any]) -> None:
    if wrong.get("approvers") == "owner":
        wrong = wrong | {"approvers": (world.owner.party,)}
    with pytest.raises(ValueError, match="approve"):
        world.policy_terms(world.owner, **wrong)
