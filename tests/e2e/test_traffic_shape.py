"""What the host sees of a job is a function of its order's public part: the same whatever data and code do."""

import dataclasses
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from client import events as e
from client.objects import read_reference
from client.scheduling import ScheduleWishes
from common.exchange.frames import FrameClass
from common.exchange.schedule import is_report_tick
from common.identifiers import JobId
from common.messages.order import TrainingOrder
from common.messages.policy import JobReport
from common.untrusted.task_queue import QUERY_QUEUE
from tests.e2e.conftest import MakeParty, Published, Registered, RunningStack, follow, order, publish, register
from tests.e2e.host_view import Books, HostPlaces, Traffic, require_scheduled
from tests.e2e.leaf_watch import LeafWatch
from tests.e2e.message_tap import MessageTap
from tests.e2e.wayward import PRINTED, Way, write_bundle, write_data

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

WISHES: Final = ScheduleWishes(rounds=2, steps=2, batch=8, tick_milliseconds=100, slack_percent=300, warmup_seconds=8)
LATE_TICKS: Final = 16
"""A trainer begins with the first tick that it hears of; a machine that is busy with other things is late for some."""

TRIES: Final = 3

SETTLE_SECONDS: Final = 30.0
"""Within so long after a job its model is told of, and the workers have given its slots back: they say so."""

UPLINK: Final = (FrameClass.UPLINK, 0)
DOWNLINK: Final = (FrameClass.DOWNLINK, 0)

EXPECTED: Final = {
    "trains": ("finished", set()),
    "does not import": ("failed", {"provider.import"}),
    "raises": ("failed", {"provider.raised"}),
    "hangs": ("failed", {"provider.timeout"}),
    "eats": ("failed", {"provider.raised"}),
    "reaches": ("failed", {"provider.raised"}),
    "prints": ("finished", set()),
    "diverges": ("failed", {"provider.output"}),
}
"""What the owner reads of each job: of one that eats memory or reaches for process, socket and file, that it raised."""

NAMES: Final = tuple(EXPECTED)


@dataclass(frozen=True)
class Seen:
    """One job: what its owner read of it in the end, and what its host saw."""

    order: TrainingOrder
    report: JobReport
    books: Books
    traffic: Traffic
    bundle_sizes: tuple[int, ...]
    data_sizes: tuple[int, ...]
    reads: list[int]


@dataclass(frozen=True)
class Prepared:
    """All that an order needs; `data` is where the object store keeps it."""

    registered: Registered
    published: Published
    data: Path


@dataclass(frozen=True)
class Played:
    """A job that has ended: what was prepared for it, and what its owner was told."""

    prepared: Prepared
    job_id: JobId
    told: list[e.Event]

    @property
    def report(self) -> JobReport:
        """The last one."""
        return [event.report for event in self.told if isinstance(event, e.ReportOpened)][-1]

    @property
    def came_late(self) -> bool:
        """Whether its machine was too busy for the schedule, so that the code did not get to show its way."""
        return self.report.outcome == "finished_short" or self.report.codes == ("unavailable.rounds",)


@pytest.fixture(scope="module")
def seen(stack: RunningStack, make_party: MakeParty, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """The same order again and again, with other secrets; once more, if it must be, where the machine was too busy."""
    places = HostPlaces(stack.state)
    home = tmp_path_factory.mktemp("shape")
    with MessageTap.open(stack.stack) as tap, LeafWatch.open() as leaves:
        obedient = publish(make_party("provider"), write_bundle(home / "code"), home / "bundle")
        broken = publish(make_party("provider"), write_bundle(home / "broken", imports=False), home / "broken bundle")
        bundles = dict.fromkeys(NAMES, obedient) | {"does not import": broken}

        def play(names: Iterable[str], folder: Path) -> dict[str, Played]:
            folder.mkdir()
            under_way = {}
            for name in names:
                one = _prepare(make_party, folder / name, bundles[name], places)
                leaves.add(one.data)
                under_way[name] = one, order(one.registered, one.published, WISHES, trainers=1)
            return {
                name: Played(*ordered, follow(ordered[0].registered, ordered[1])) for name, ordered in under_way.items()
            }

        played = play(NAMES, home / "0")
        for number in range(1, TRIES):
            if late := [name for name, one in played.items() if one.came_late]:
                played |= play(late, home / str(number))
        _await_settled(places, tap, [one.job_id for one in played.values()])
        return {name: _look(one, places, tap, leaves) for name, one in played.items()}


def _await_settled(places: HostPlaces, tap: MessageTap, job_ids: list[JobId]) -> None:
    give_up = time.monotonic() + SETTLE_SECONDS
    while not all(_is_settled(places.books(job_id, tap.messages())) for job_id in job_ids):
        assert time.monotonic() < give_up, "a worker did not give a slot back"
        time.sleep(0.2)


def _is_settled(books: Books) -> bool:
    said = [json.loads(line)["event"] for _, line in books.logged.elements()]
    return said.count("slot_released") == len(books.slots) and any(key == QUERY_QUEUE for key, _ in books.tasks)


def _prepare(make_party: MakeParty, home: Path, published: Published, places: HostPlaces) -> Prepared:
    home.mkdir()
    data = write_data(home / "data.npz", Way.__members__.get(home.name.upper(), Way.TRAINS))
    registered = register(make_party("owner"), published, data, home / "sealed")
    return Prepared(registered, published, places.object_directory(read_reference(home / "sealed").root))


def _look(one: Played, places: HostPlaces, tap: MessageTap, leaves: LeafWatch) -> Seen:
    data, messages = one.prepared.data, tap.messages()
    signed = one.prepared.registered.party.document("orders", one.job_id)
    assert signed is not None
    return Seen(
        TrainingOrder.decode(signed.payload),
        one.report,
        places.books(one.job_id, messages),
        Traffic.of(messages, one.job_id),
        places.leaf_sizes(one.prepared.published.bundle.root),
        places.leaf_sizes(data.name),
        leaves.opened(data),
    )


def test_the_secrets_did_what_they_should(seen: dict[str, Seen]) -> None:
    """Else the comparisons below would show nothing. The owner reads the truth, sealed."""
    assert {name: (one.report.outcome, set(one.report.codes)) for name, one in seen.items()} == EXPECTED


def test_what_was_printed_is_nowhere(stack: RunningStack, seen: dict[str, Seen]) -> None:
    assert [path for path in (stack.state / "logs").iterdir() if PRINTED.encode() in path.read_bytes()] == []


def test_every_frame_of_every_tick_is_the_orders(seen: dict[str, Seen]) -> None:
    for one in seen.values():
        require_scheduled(one.traffic, one.order, late_ticks=LATE_TICKS)


def test_chunks_of_data_that_are_kept_are_read_once(seen: dict[str, Seen]) -> None:
    for name, one in seen.items():
        assert one.reads[0] == 0, "the header comes first"
        assert sorted(one.reads[1:]) == list(range(1, len(one.data_sizes))), name


def test_reports_come_with_the_ticks_at_one_size(seen: dict[str, Seen]) -> None:
    for one in seen.values():
        taken = [tick for tick in one.traffic.frames[DOWNLINK] if is_report_tick(tick, one.order.schedule)]
        assert len(one.books.report_sizes) == len(taken) + 1
    assert len({size for one in seen.values() for size in one.books.report_sizes}) == 1


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_books_are_those_of_a_job_that_trained(seen: dict[str, Seen], name: str) -> None:
    ours, other = seen["trains"], seen[name]
    for entry in dataclasses.fields(Books):
        if entry.name != "report_sizes":  # as many as the ticks that were taken
            assert getattr(other.books, entry.name) == getattr(ours.books, entry.name), entry.name
    assert (other.bundle_sizes, other.data_sizes) == (ours.bundle_sizes, ours.data_sizes)
    assert ours.books.tasks, "there was something to compare"
    assert ours.books.logged
    assert ours.books.model_sizes
