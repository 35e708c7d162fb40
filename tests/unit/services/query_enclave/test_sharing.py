"""Which further places of a model a worker takes, and when it leaves them; and what is measured for it."""

import pytest

from common.identifiers import ModelId
from services.query_enclave.backlog import HOT_DEPTH, HOT_SECONDS, Backlog, metrics_of, wanted_workers
from services.query_enclave.sharing import IDLE_SECONDS, LEAVE_SECONDS, Sharing
from services.query_enclave.streams import MOST_PLACES, model_of, place_of

MODEL, OTHER = (ModelId("model_" + f"{number:032x}") for number in (1, 2))


class Counted:
    """Backlogs that a test sets."""

    def __init__(self) -> None:
        self.models: dict[ModelId, Backlog] = {}
        self.places: dict[str, int] = {}

    def of_model(self, model_id: ModelId) -> Backlog:
        return self.models.get(model_id, Backlog(0, 0.0, 1))

    def of_place(self, place: str) -> Backlog:
        return Backlog(self.places.get(place, 0), 0.0)


class Worker:
    """One worker's decisions, at a time that a test moves."""

    def __init__(self) -> None:
        self.load, self.withdrawn, self.at = Counted(), list[str](), 100.0
        self.sharing = Sharing(self.load, self.withdrawn.append, lambda: self.at)

    def look(self, *held: str) -> list[str]:
        return self.sharing.further_places([MODEL, OTHER], held)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_places_have_names_of_their_model() -> None:
    assert place_of(MODEL, 0) == MODEL
    assert {model_of(place_of(MODEL, number)) for number in range(MOST_PLACES)} == {MODEL}


@pytest.mark.parametrize(
    ("backlog", "is_hot"),
    [
        (Backlog(HOT_DEPTH - 1, 0.0, 1), False),
        (Backlog(HOT_DEPTH, 0.0, 1), True),
        (Backlog(HOT_DEPTH, 0.0, 2), False),
        (Backlog(2 * HOT_DEPTH, 0.0, 2), True),
        (Backlog(1, HOT_SECONDS, 1), True),
    ],
)
def test_a_model_is_hot_where_its_launches_have_more_than_they_can_have_under_way(
    backlog: Backlog, *, is_hot: bool
) -> None:
    assert backlog.is_hot is is_hot


def test_nobody_takes_a_further_place_of_a_model_that_has_time(worker: Worker) -> None:
    assert worker.look() == []


def test_a_hot_model_is_offered_to_a_worker_that_does_not_serve_it(worker: Worker) -> None:
    worker.load.models[MODEL] = Backlog(HOT_DEPTH, 0.0, 1)
    assert worker.look() == [place_of(MODEL, number) for number in range(1, MOST_PLACES)]
    for held in (MODEL, place_of(MODEL, 3)):
        assert set(worker.look(held)) <= {held}, "one worker has one launch of it"


def test_a_further_place_is_kept_while_it_has_work_and_left_step_by_step(worker: Worker) -> None:
    place = place_of(MODEL, 1)
    worker.load.places[place] = 1
    for _ in range(3):
        worker.at += IDLE_SECONDS
        assert worker.look(place) == [place]
    worker.load.places[place] = 0
    worker.at += IDLE_SECONDS - 1
    assert worker.look(place) == [place]
    assert worker.withdrawn == []
    worker.at += 1
    assert worker.look(place) == [place], "it may still be asked by those who were shown it"
    assert worker.withdrawn == [place]
    worker.at += LEAVE_SECONDS
    worker.load.places[place] = 1
    assert worker.look(place) == [place]
    worker.load.places[place] = 0
    worker.at += IDLE_SECONDS
    assert worker.look(place) == []
    assert worker.withdrawn == [place]


def test_metrics_by_model() -> None:
    found = {MODEL: Backlog(70, 1.23456, 2), OTHER: Backlog(0, 0.0, 1)}
    told = {
        (sample.name, sample.labels["model"]): sample.value for metric in metrics_of(found) for sample in metric.samples
    }
    assert told["cloister_query_backlog", MODEL] == 70
    assert told["cloister_query_backlog_oldest_seconds", MODEL] == 1.235
    assert told["cloister_query_places", OTHER] == 1


@pytest.mark.parametrize(
    ("depths", "wanted"), [((), 1), ((0, 0), 1), ((64, 3), 1), ((65, 3), 2), ((5000,), MOST_PLACES)]
)
def test_workers_that_leave_nobody_waiting(depths: tuple[int, ...], wanted: int) -> None:
    found = {ModelId("model_" + f"{number:032x}"): Backlog(depth, 0.0, 1) for number, depth in enumerate(depths)}
    assert wanted_workers(found) == wanted
