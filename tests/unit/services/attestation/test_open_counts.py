"""What the decision log tells of by number: nothing is left out of it, and nobody fills it."""

from pathlib import Path

import pytest

from common.identifiers import JobId
from common.key_retrieval import renew_lease
from common.messages.decision_log import Further, LogEntry
from common.messages.jobs import AcceptOrder, ListMembers
from common.messages.signed import sign
from services.attestation import open_counts, state_anchor
from services.attestation.open_counts import WINDOW_SECONDS
from services.attestation.refusal_log import REFUSALS_KEPT
from tests.fakes.broker_world import TRAINER, BrokerWorld, Party
from tests.fakes.handover_world import Heir

STRANGE = ListMembers(job_id=JobId("job_" + "0" * 32))


def entries(world: BrokerWorld) -> list[LogEntry]:
    return [LogEntry.decode(raw) for raw in world.store.entries]


def together(world: BrokerWorld) -> list[LogEntry]:
    return [entry for entry in entries(world) if entry.further is not None]


def told(world: BrokerWorld) -> int:
    """How many refusals the log tells of, one by one or together."""
    refused = [entry for entry in entries(world) if entry.outcome == "refused"]
    return sum(1 if entry.further is None else entry.further.count for entry in refused)


class Flood:
    """A party that tries without end: each time another order for more trainers than its policy allows."""

    def __init__(self, world: BrokerWorld, owner: Party | None = None) -> None:
        self.world, self.owner = world, owner or world.owner
        self.data, self.bundle = world.register_data(self.owner), world.register_bundle()

    def refused(self, times: int) -> None:
        for _ in range(times):
            order = self.world.order(self.data, self.bundle, trainers=9)
            body = AcceptOrder(order=sign(order, self.owner.key), release=self.world.release)
            assert self.world.reply(body).body.type == "refused"


def test_what_is_beyond_the_eight_is_told_together_once_the_window_is_over(world: BrokerWorld) -> None:
    flood = Flood(world)
    before, began = world.head.size, world.time
    flood.refused(REFUSALS_KEPT)
    flood.refused(1)
    world.time += 600
    flood.refused(21)
    assert world.head.size == before + REFUSALS_KEPT
    world.time = began + WINDOW_SECONDS
    head = world.head  # whoever asks for it, is told
    [entry] = together(world)
    assert (entry.number, head.size) == (before + REFUSALS_KEPT, before + REFUSALS_KEPT + 1)
    assert (entry.decision, entry.outcome, entry.code) == ("accept-order", "refused", "policy.slots")
    assert entry.further == Further(count=22, first=began, last=began + 600)
    assert set(entry.subjects.parties) == {world.owner.party, world.provider.party}
    assert entry.subjects.datasets == (flood.data.dataset_id,)
    assert entry.subjects.document is None
    world.time += WINDOW_SECONDS
    assert world.head == head, "nothing more to tell"
    flood.refused(3)
    world.time += WINDOW_SECONDS
    assert world.head.size == head.size + 1
    assert told(world) == 33


def test_what_strangers_try_is_told_by_code_alone(world: BrokerWorld) -> None:
    for _ in range(100):
        assert world.reply(STRANGE).body.type == "refused"
        world.handle(b"malformed")
    world.time += WINDOW_SECONDS
    world.reply(STRANGE)
    found = {(one.decision, one.code, one.further.count if one.further else 0) for one in together(world)}
    assert found == {("other-request", "not_found.job", 100), ("other-request", "format.message", 100)}
    assert all(one.subjects == type(one.subjects)() for one in together(world))


def test_a_broker_that_rests_tells_at_once(world: BrokerWorld) -> None:
    flood = Flood(world)
    flood.refused(20)
    world.core.rest(world.time)
    assert told(world) == 20
    world.core.rest(world.time)
    assert len(together(world)) == 1


def test_a_broker_that_is_killed_forgets_no_more_than_since_its_last_decision(world: BrokerWorld) -> None:
    flood = Flood(world)
    flood.refused(20)
    world.register_data()
    flood.refused(5)
    world.restart()
    world.time += WINDOW_SECONDS
    assert world.head.size == len(entries(world))
    [entry] = together(world)
    assert entry.further is not None
    assert entry.further.count == 12
    world.restart()
    world.time += WINDOW_SECONDS
    world.reply(STRANGE)
    assert len(together(world)) == 1, "it is told once"


def test_one_broker_hands_over_with_everything_told(world: BrokerWorld) -> None:
    flood = Flood(world)
    flood.refused(20)
    Heir.of(world).succeed(leave_behind=True)
    assert told(world) == 20
    names = [entry.decision for entry in entries(world)]
    assert names.index("handover") > names.index("accept-order")
    assert names[-1] == "start"


def test_while_frozen_nothing_is_told_and_nothing_lost(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    world.confirm(world.witnesses[0])
    flood = Flood(world)
    world.restart()
    flood_of = world.order(flood.data, flood.bundle, trainers=9)
    body = AcceptOrder(order=sign(flood_of, world.owner.key), release=world.release)
    for _ in range(7):
        assert world.reply(body).body.type == "refused"
    before = world.head
    world.time += WINDOW_SECONDS
    world.core.rest(world.time)
    assert world.head == before
    world.confirm(world.witnesses[0])
    world.reply(STRANGE)
    assert [(one.code, one.further) for one in together(world)] == [
        ("unavailable.frozen", Further(count=7, first=world.time - WINDOW_SECONDS, last=world.time - WINDOW_SECONDS))
    ]


def test_counts_alone_never_freeze_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_anchor, "ROOM", 2)
    world = BrokerWorld(tmp_path, witnesses=1)
    world.confirm(world.witnesses[0])
    floods = [Flood(world, Party()) for _ in range(5)]
    world.confirm(world.witnesses[0])
    for flood in floods:
        flood.refused(10)
    world.time += WINDOW_SECONDS
    before = world.context.anchor.unconfirmed
    assert world.head.size
    assert world.context.anchor.unconfirmed <= max(before, 2)
    for _ in range(10):
        world.confirm(world.witnesses[0])
    assert told(world) == 50


def test_open_kinds_are_bounded_and_no_number_is_lost(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_counts, "KINDS_KEPT", 2)
    for _ in range(5):
        Flood(world, Party()).refused(REFUSALS_KEPT + 2)
    world.time += WINDOW_SECONDS
    world.reply(STRANGE)
    assert told(world) == 5 * (REFUSALS_KEPT + 2)
    nobodys = [one.further.count for one in together(world) if one.further and not one.subjects.parties]
    assert nobodys == [6]
    assert len(together(world)) == 3


def test_places_are_used_again(world: BrokerWorld) -> None:
    for _ in range(4):
        world.reply(STRANGE)
        world.time += WINDOW_SECONDS
        world.reply(STRANGE)
    places = {record.key for record in world.context.state.records if record.key.startswith("count ")}
    assert places == {"count 0"}


def test_whoever_it_concerns_alone_is_told_whom(world: BrokerWorld) -> None:
    """An entry of a kind has the tags of its parties, as any entry."""
    other = Party()
    Flood(world).refused(10)
    Flood(world, other).refused(10)
    world.core.rest(world.time)
    readers = [set(one.subjects.parties) for one in together(world)]
    assert {world.owner.party, world.provider.party} in readers
    assert {other.party, world.provider.party} in readers


def test_renewals_that_are_granted_are_told_together(world: BrokerWorld) -> None:
    job_id = world.start_job()
    trainer = world.launch(TRAINER, job_id)
    before = world.head
    for _ in range(5):
        renew_lease(world.runtime("trainer"), world.channel(), trainer)
    assert world.head == before
    world.core.rest(world.time)
    [entry] = together(world)
    assert (entry.decision, entry.outcome, entry.subjects.job) == ("renew-lease", "recorded", job_id)
    assert entry.further is not None
    assert (entry.further.count, entry.subjects.role, entry.subjects.launch) == (5, TRAINER, None)
