"""A witness ends one broker in favour of one other, once and for good."""

from pathlib import Path

import pytest

from client.witness_memory import WitnessMemory
from client.witnessing import Witness
from common.errors import AppraisalError, ConflictError, FreshnessError, NotFoundError
from common.messages.platform_inventory import InventoryTaken, TakeInventory
from common.messages.recovery_package import Retirement
from common.messages.signed import open_signed
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.machines import inventory_of
from tests.fakes.recovery_world import RecoveryWorld
from tests.fakes.watched_broker import Served


@pytest.fixture
def lost(tmp_path: Path) -> RecoveryWorld:
    return RecoveryWorld(tmp_path)


def test_it_says_which_head_was_the_newest_and_who_takes_over(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    key = lost.witness_identity.signing_key.party
    word = open_signed(lost.retirement(new), Retirement, [key])
    assert (word.broker, word.successor, word.head) == (lost.old.genesis.digest, new.genesis.digest, lost.old.head)
    assert lost.retirement(new) == lost.retirement(new)


def test_it_names_no_second_one_not_even_as_another_process(lost: RecoveryWorld) -> None:
    first, second = lost.new_machine("first"), lost.new_machine("second")
    lost.retirement(first)
    for witness in (lost.witness, lost.witness_of(lost.old, "witness.json")):
        with pytest.raises(ConflictError, match=r"conflict\.successor"):
            witness.retire(Served(second))


def test_a_process_that_still_follows_confirms_nothing_more(lost: RecoveryWorld) -> None:
    """Another process of the witness has retired the broker meanwhile."""
    lost.witness_of(lost.old, "witness.json").retire(Served(lost.new_machine()))
    lost.old.register_data()
    before = WitnessMemory.decode((lost.directory / "witness.json").read_bytes())
    with pytest.raises(ConflictError, match=r"conflict\.successor"):
        lost.witness.follow()
    assert WitnessMemory.decode((lost.directory / "witness.json").read_bytes()) == before
    assert not lost.witness.broker_is_thawed


def test_no_broker_succeeds_itself(lost: RecoveryWorld) -> None:
    with pytest.raises(ConflictError, match=r"conflict\.successor"):
        lost.witness.retire(Served(lost.old))
    lost.witness.round()


def test_a_successor_is_verified_like_any_broker(lost: RecoveryWorld) -> None:
    stranger = BrokerWorld(lost.directory / "stranger")
    stranger.release = lost.old.release
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        lost.witness.retire(Served(stranger))
    lost.witness.round()


def test_who_guards_nothing_ends_nothing(lost: RecoveryWorld) -> None:
    nobody = Witness(
        lost.witness_identity, lost.old.trust, Served(lost.old), lost.directory / "none.json", lambda: lost.old.time
    )
    with pytest.raises(NotFoundError, match=r"not_found\.pin"):
        nobody.retire(Served(lost.new_machine()))


def test_a_successor_knows_the_machines_that_the_witness_knows(lost: RecoveryWorld) -> None:
    """Else it would hand out keys to those that the release keys have revoked."""
    body = TakeInventory(inventory=inventory_of(1, *lost.old.release_keys))
    with lost.old.attended(lost.witness_identity.signing_key):
        lost.old.channel().ask(body, InventoryTaken)
    lost.witness.round()
    new = lost.new_machine()
    with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
        lost.retirement(new)
    with new.attended(lost.witness_identity.signing_key):
        new.channel().ask(body, InventoryTaken)
    assert lost.retirement(new)
