"""Live trainer machines are listed with their newest figures, and others not at all."""

import pytest

from common.untrusted.database import Database
from common.untrusted.machines import Machines, measure_machine
from common.untrusted.slot_board import LIVE_SECONDS, PARAMSERVER, TRAINER, SlotBoard


class Registry:
    """A database whose clock stands."""

    def __init__(self, database_url: str) -> None:
        self.now = 1000.0
        self.database = Database(database_url)
        self.machines = Machines(self.database, now=lambda: self.now)
        self.slots = SlotBoard(self.database, now=lambda: self.now)


@pytest.fixture
def registry(database_url: str) -> Registry:
    return Registry(database_url)


def test_live_trainer_machines_are_listed_with_their_newest_figures(registry: Registry) -> None:
    for worker, role in (("t1", TRAINER), ("t2", TRAINER), ("p", PARAMSERVER)):
        registry.slots.heartbeat(worker, role, 4)
        registry.machines.tell(worker, 8, 1500)
    registry.machines.tell("t1", 8, 1200)
    registry.slots.heartbeat("unmeasured", TRAINER, 4)
    listed = registry.machines.live()
    assert [(one.slots, one.cores, one.reference_microseconds) for one in listed] == [(4, 8, 1200), (4, 8, 1500)]
    registry.now += LIVE_SECONDS / 2
    registry.slots.heartbeat("t2", TRAINER, 4)
    registry.now += LIVE_SECONDS * 3 / 4
    assert [one.reference_microseconds for one in registry.machines.live()] == [1500]


def test_a_worker_measures_its_machine(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_machine(registry.machines, "t1").join()
    registry.slots.heartbeat("t1", TRAINER, 2)
    (machine,) = registry.machines.live()
    assert machine.cores >= 1
    assert machine.reference_microseconds > 10
    monkeypatch.setattr("common.untrusted.machines.reference_microseconds", lambda: None)
    measure_machine(registry.machines, "t2").join()
    registry.slots.heartbeat("t2", TRAINER, 2)
    assert len(registry.machines.live()) == 1
