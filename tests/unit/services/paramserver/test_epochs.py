"""When a pass over the data is over, and who is told."""

from services.paramserver.epochs import Epochs
from tests.fakes.in_memory_job import make_schedule

SCHEDULE = make_schedule(steps_per_round=5, batch_rows=20)


def test_an_epoch_is_over_when_all_slots_together_have_trained_on_all_rows() -> None:
    """Two slots of 150 rows each, 100 rows a round and slot: three rounds are two epochs."""
    epochs, told = Epochs(SCHEDULE, owners=1), []
    for number, loss in enumerate((4.0, 3.0, 2.0, 1.0), 1):
        epochs.add(loss, {0: 150, 1: 150}, {0: number, 1: number})
        told.append((epochs.done, epochs.loss))
    assert told == [(0, None), (1, 3.5), (2, 2.0), (2, 2.0)]


def test_a_slot_that_is_late_still_has_its_rows() -> None:
    epochs = Epochs(SCHEDULE, owners=1)
    epochs.add(None, {0: 150, 1: 150}, {0: 1, 1: 1})
    epochs.add(None, {0: 150}, {0: 2, 1: 1})
    assert (epochs.done, epochs.loss) == (1, None)


def test_a_later_launch_goes_on_counting() -> None:
    later = Epochs(SCHEDULE, owners=1)
    later.add(0.5, {0: 150, 1: 150}, {0: 7, 1: 7})
    assert (later.done, later.loss) == (4, 0.5)


def test_of_several_owners_none_is_told_how_many_rows_there_are() -> None:
    epochs = Epochs(SCHEDULE, owners=2)
    epochs.add(0.5, {0: 10, 1: 10}, {0: 7, 1: 7})
    assert (epochs.done, epochs.loss) == (0, None)
