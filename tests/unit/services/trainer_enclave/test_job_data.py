"""Rounds, and a design before them, begin once their data are there; frames leave all the while."""

from tests.fakes.in_memory_job import InMemoryJob, make_schedule


def test_a_round_begins_when_its_data_are_ready() -> None:
    there = set[int]()
    job = InMemoryJob(make_schedule(), ready=lambda number: number in there)
    job.run(0, 20)
    assert [sandbox.rounds for sandbox in job.sandboxes.values()] == [0, 0]
    there.add(0)
    job.run(20, 40)
    assert [sandbox.rounds for sandbox in job.sandboxes.values()] == [1, 1], "and round 1 waits"
    ticks = [shape[3] for shape in job.trace if shape[1] == 0 and shape[0] == "UPLINK"]
    assert sorted(set(ticks)) == list(range(40))


def test_a_design_waits_for_what_it_is_told_of() -> None:
    asked = list[int | None]()

    def ready(number: int | None) -> bool:
        asked.append(number)
        return len(asked) > 10

    job = InMemoryJob(make_schedule(), designers={}, ready=ready)
    job.run()
    assert set(asked[:10]) == {None}
    assert {0, 1} <= set(asked)
    assert job.sandboxes[0].rounds > 1
