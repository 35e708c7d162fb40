"""Promise: of the brokers that could carry on after a handover at most one ever releases anything, and one always can.

The host keeps every state, runs whom it likes, and shows the one honest witness what it likes.
"""

from pathlib import Path

import pytest

from common.crypto.digests import sha256
from common.errors import ConflictError, FreshnessError, UnavailableError
from common.identifiers import MrEnclave
from common.messages.handover import HandoverGiven
from services.attestation.key_broker import KeyBroker
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore
from tests.fakes.handover_world import Heir
from tests.fakes.watched_broker import Watched


class Change:
    """A watched broker, an heir, and every state that the host could keep of the old one."""

    def __init__(self, directory: Path) -> None:
        self.watched = Watched(directory)
        self.world = self.watched.world
        self.watched.witness.round()
        self.heir = Heir.of(self.world)
        self.before = self.world.store.copy()

    def give(self, heir: Heir | None = None) -> HandoverGiven:
        with self.world.attended(self.watched.identity.signing_key):
            return (heir or self.heir).give(leave_behind=True)

    def finish(self, given: HandoverGiven) -> None:
        """The heir takes over, and the witness confirms it under its release."""
        self.heir.adopt(self.heir.take(given))
        self.watched.service.release = self.heir.release
        self.watched.witness.round()
        assert not self.world.describe().frozen
        assert self.releases()

    def old_again(self, store: MemoryStore) -> None:
        """The host starts the old build from this state, and serves its release."""
        self.world.broker_measurement = MEASUREMENTS["broker"]
        self.watched.service.release = self.world.release
        self.world.restart(store)

    def releases(self) -> bool:
        """Whether the broker that runs does anything for anybody."""
        try:
            return bool(self.world.register_data())
        except (ConflictError, UnavailableError, FreshnessError):
            return False


@pytest.fixture
def change(tmp_path: Path) -> Change:
    return Change(tmp_path)


def test_the_old_broker_never_releases_again_from_any_of_its_states(change: Change) -> None:
    given = change.give()
    old, fenced = change.world.core, change.world.store.copy()
    assert not change.releases(), "it runs, thawed, and has handed over"
    change.finish(given)
    change.world.core, now = old, change.world.core
    assert not change.releases(), "it runs on beside its heir"
    change.world.core = now
    for store in (change.before, fenced):
        for _ in range(3):
            change.old_again(store.copy())
            with pytest.raises(FreshnessError, match=r"freshness\.state"):
                change.watched.witness.round()
            assert change.world.describe().frozen
            assert not change.releases()


def test_after_a_restart_it_is_confirmed_and_still_releases_nothing(change: Change) -> None:
    """Half a handover: the heir never started. The witness confirms the old one's head; it only hands over again."""
    change.give()
    change.world.restart()
    change.watched.witness.round()
    assert not change.world.describe().frozen
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        change.world.register_data()
    change.finish(change.give())


def test_the_state_leaves_only_when_the_witnesses_have_seen_that_it_does(change: Change) -> None:
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        change.heir.give(leave_behind=True)
    assert change.heir.package.blobs == []
    assert not change.releases()
    change.finish(change.give())


def test_of_two_heirs_one_gets_it(change: Change) -> None:
    given = change.give()
    second = Heir.of(change.world, tag="2")
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        change.give(second)
    assert second.package.blobs == []
    change.finish(given)


def test_of_two_copies_of_one_heir_one_is_confirmed(change: Change) -> None:
    given, store = change.give(), change.world.store.copy()
    twin = Heir(change.world, change.heir.release, change.heir.runtime, change.heir.package, change.heir.sealed_key)
    context = twin.take(given, store)
    change.finish(given)
    change.world.context, change.world.core = context, KeyBroker(context, confirm_seconds=0.0)
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    assert not change.releases()


def test_a_build_that_never_starts_is_not_the_end(change: Change) -> None:
    """From a later boot that the witnesses confirmed another heir gets the state, and the first is dead for good."""
    given, stale = change.give(), change.world.store.copy()
    other = Heir.of(change.world, MrEnclave(sha256(b"broker, a build that starts")), tag="3")
    change.world.restart()
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        other.give(leave_behind=True)  # nobody has confirmed this boot
    change.watched.witness.round()
    first, change.heir = change.heir, other
    change.finish(change.give())
    context = first.take(given, stale)
    change.world.context, change.world.core = context, KeyBroker(context, confirm_seconds=0.0)
    change.watched.service.release = first.release
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    assert not change.releases()


def test_where_an_heir_was_confirmed_no_other_gets_the_state(change: Change) -> None:
    given, fenced = change.give(), change.world.store.copy()
    change.finish(given)
    change.old_again(fenced)
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.heir.offer()


def test_without_witnesses_no_other_heir_gets_it(tmp_path: Path) -> None:
    heir = Heir.of(BrokerWorld(tmp_path))
    heir.give()
    heir.world.restart()
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        Heir.of(heir.world).give()
    heir.adopt(heir.take(heir.give()))
    assert heir.world.register_data()
