"""A whole job of native code whose graph goes up beside its rounds, in process: agreed on or not, no host sees it."""

import pytest

from tests.fakes.in_memory_job import InMemoryJob, make_schedule

SCHEDULE = make_schedule(rounds=12)
GRAPH = b'{"a graph": "as a member says it"}'


def done(**fields: object) -> InMemoryJob:
    job = InMemoryJob(SCHEDULE, **fields)  # type: ignore[arg-type]
    job.run()
    return job


def test_a_graph_arrives_in_place_of_dummies_and_the_host_sees_no_difference() -> None:
    job, without = done(graphs={0: GRAPH, 1: GRAPH}), done()
    assert job.server.members.graphs() == {GRAPH}
    assert without.server.members.graphs() == set()
    assert job.trace == without.trace
    assert (job.server.outcome(), job.server.refused_frames) == ("finished", 0)
    assert job.server.members.delivered() == without.server.members.delivered() == (12, 12)
    assert job.server.state_P is not None
    assert without.server.state_P is not None
    assert job.server.state_P.tobytes() == without.server.state_P.tobytes(), "no round waited for it"


def test_members_that_say_different_graphs_say_so() -> None:
    assert done(graphs={0: GRAPH, 1: b"another"}).server.members.graphs() == {GRAPH, b"another"}
    assert done(graphs={1: GRAPH}).server.members.graphs() == {GRAPH}, "one that says none has no veto"


def test_a_graph_that_was_lost_is_said_again() -> None:
    job = done(graphs={0: GRAPH}, drop=lambda sender, tick: sender == 0 and 20 <= tick < 24)
    assert job.server.members.graphs() == {GRAPH}


@pytest.mark.parametrize("graphs", [{}, {0: GRAPH}])
def test_a_later_launch_of_the_server_hears_it_too(graphs: dict[int, bytes]) -> None:
    job = InMemoryJob(make_schedule(rounds=30, slack_percent=400), graphs=graphs)
    job.run(last=60)
    job.start_server(2)
    job.run()
    assert job.server.members.graphs() == set(graphs.values())
