"""A calibrated schedule follows from public figures: it is no longer than it must be, and never shorter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import events as e
from client.calibrating import (
    GUESSED_SLACK,
    MEASURED_SLACK,
    TICKS_MILLISECONDS,
    WAITING_SHARE,
    Grounds,
    calibrated,
    choose,
    stand_in,
    waiting_ticks,
)
from client.context import Party
from client.forecasting import forecast
from client.ordering import fetch_sizes
from client.scheduling import MOST_READS, READING_SHARE, ScheduleWishes, first_chunks, schedule_for
from client.services import IngestService
from common.data_shares import share_of
from common.errors import AuthenticityError
from common.identifiers import DatasetId, Digest
from common.messages.objects import BundlePublication, DatasetManifest, ObjectRef, StepCost
from common.messages.service import Machines, TrainerMachine
from common.messages.signed import sign
from tests.security.test_attack_sizes import pinned_party
from tests.vectors.sample_documents import PUBLICATION

STANDARD = TrainerMachine(slots=2, cores=2, reference_microseconds=1000)
COST = StepCost(fixed_microseconds=1024, row_nanoseconds=65536)
WISHES = ScheduleWishes(steps=200, batch=64)
LOCKSTEP = replace(WISHES, rounds_ahead=False)


def grounds(*machines: TrainerMachine, cost: StepCost | None = COST, chunks: int = 1, **changes: Any) -> Grounds:
    publication = PUBLICATION.model_copy(update={"step_cost": cost, "state_class": 38_912} | changes)
    return Grounds(publication, machines or (STANDARD,), trainers=2, share=share_of([chunks], 0, 2))


def test_a_step_costs_what_was_published_on_the_slowest_machine() -> None:
    assert grounds().step_milliseconds(64) == 6  # 1.024 + 64 x 0.065536 = 5.2
    slow = STANDARD.model_copy(update={"reference_microseconds": 3000})
    assert grounds(STANDARD, slow).step_milliseconds(64) == 16


def test_trainers_that_share_a_core_are_slower() -> None:
    one_core = STANDARD.model_copy(update={"cores": 1})
    assert grounds(one_core).slowness == 2 * grounds().slowness
    assert Grounds(PUBLICATION, (one_core,), trainers=1, share=share_of([1], 0, 1)).slowness == grounds().slowness


@pytest.mark.parametrize("step_us", [64, 1024, 16_384, 262_144])
@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_waiting_is_a_quarter_of_a_round_where_ticks_can_make_it_so(step_us: int, steps: int) -> None:
    ground = grounds(cost=StepCost(fixed_microseconds=step_us, row_nanoseconds=1))
    chosen = choose(ground, replace(LOCKSTEP, steps=steps))
    assert chosen.tick_milliseconds is not None
    work, waiting = chosen.steps * chosen.step_milliseconds, waiting_ticks(chosen, ground.publication)
    tick = chosen.tick_milliseconds
    assert tick in TICKS_MILLISECONDS
    assert tick == TICKS_MILLISECONDS[0] or waiting * tick <= WAITING_SHARE * work
    longer = [one for one in TICKS_MILLISECONDS if one > tick]
    assert not longer or waiting * longer[0] > WAITING_SHARE * work
    schedule = schedule_for(chosen, ground.publication)
    assert schedule.ticks_per_round * tick >= work + (waiting - 1) * tick


def test_a_measured_cost_needs_less_slack_than_a_guess() -> None:
    assert choose(grounds(), WISHES).slack_percent == MEASURED_SLACK
    assert choose(grounds(cost=None), WISHES).slack_percent == GUESSED_SLACK


@pytest.mark.parametrize("chunks", [1, 100, 4000])
def test_all_data_are_read_when_the_warm_up_is_over(chunks: int) -> None:
    ground = grounds(chunks=chunks)
    schedule = schedule_for(choose(ground, WISHES), ground.publication, ground.share)
    assert schedule.reads_per_tick * schedule.warmup_ticks * READING_SHARE >= first_chunks(ground.share)
    assert schedule.reads_per_tick <= max(1, MOST_READS * schedule.tick_seconds)


def test_slow_machines_get_longer_to_start() -> None:
    slow = STANDARD.model_copy(update={"reference_microseconds": 3000})
    fast_start, slow_start = (forecast(schedule_for(choose(one, WISHES), one.publication), 2).start_seconds
                              for one in (grounds(), grounds(slow)))  # fmt: skip
    assert slow_start >= 3 * fast_start


def test_what_the_owner_says_stays() -> None:
    own = ScheduleWishes(tick_milliseconds=70, slack_percent=111, step_milliseconds=3, warmup_seconds=4)
    kept = frozenset({"tick_milliseconds", "slack_percent", "step_milliseconds", "warmup_seconds"})
    assert choose(grounds(), own, kept) == own


def test_a_stand_in_grows_with_its_size_class() -> None:
    small, large = stand_in(1000), stand_in(25_000_000)
    assert small.milliseconds(64) < 3
    assert large.milliseconds(64) > 50
    assert grounds(cost=None).cost == stand_in(38_912)


class Desk:
    """As the service."""

    def __init__(self, machines: tuple[TrainerMachine, ...]) -> None:
        self.listed = machines

    def machines(self) -> Machines:
        return Machines(trainers=self.listed)


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return pinned_party(tmp_path)[1]


def told(
    party: Party, monkeypatch: pytest.MonkeyPatch, publication: BundlePublication, machines: tuple[TrainerMachine, ...]
) -> list[e.Event]:
    monkeypatch.setattr(IngestService, "of", lambda _party: Desk(machines))
    return list(calibrated(party, share_of([7], 0, 2), publication, 2, LOCKSTEP))


def test_what_was_chosen_is_told_with_what_it_hangs_on(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    publication = grounds().publication
    (event,) = told(party, monkeypatch, publication, (STANDARD,))
    assert isinstance(event, e.Calibrated)
    assert (event.source, event.machines, event.slowness, event.step_milliseconds) == ("publication", 1, 1.0, 6)
    *warnings, event = told(party, monkeypatch, publication.model_copy(update={"step_cost": None}), ())
    assert isinstance(event, e.Calibrated)
    assert event.source == "stand-in"
    words = " ".join(one.text for one in warnings if isinstance(one, e.Noted))
    assert "no cost of a step" in words
    assert "tells no machine" in words


def test_a_round_that_waits_more_than_it_works_is_warned_of(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = grounds(cost=StepCost(fixed_microseconds=64, row_nanoseconds=1)).publication
    warning, _ = told(party, monkeypatch, quick, (STANDARD,))
    assert isinstance(warning, e.Noted)
    assert "more --steps in fewer --rounds" in warning.text


def test_another_manifest_is_not_taken_for_the_data_set(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    own = party.identity.signing_key
    part = ObjectRef(root=Digest("a" * 64), chunk_count=7)
    manifest = sign(DatasetManifest(owner=own.party, parts=(part,), policy=Digest("b" * 64)), own)
    monkeypatch.setattr(IngestService, "dataset", lambda _service, _dataset_id: manifest)
    assert fetch_sizes(party, DatasetId.of(manifest.digest)) == [7]
    with pytest.raises(AuthenticityError):
        fetch_sizes(party, DatasetId.of(Digest("c" * 64)))
