"""Attacks on freshness: the operator restores an older sealed state, or runs two brokers from one, and wants both
believed by the one honest witness.
"""

from pathlib import Path

import pytest

from common.broker_channel import require_not_older
from common.errors import FreshnessError, UnavailableError
from common.messages.log_heads import LogHead
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld
from tests.fakes.watched_broker import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def pump(world: BrokerWorld, decisions: int) -> None:
    """Each start is a decision of its own: enough of them make any log as long as one likes."""
    for _ in range(decisions):
        world.restart()


def decide(watched: Watched, times: int) -> None:
    for _ in range(times):
        watched.world.register_data()


def test_starts_do_not_make_a_rewound_log_newer(watched: Watched) -> None:
    watched.witness.round()
    older = watched.world.store.copy()
    decide(watched, 3)
    watched.witness.round()
    watched.world.restart(older)
    pump(watched.world, 8)
    assert watched.world.head.size > watched.remembered.size
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.round()
    assert watched.world.describe().frozen


def test_a_party_that_pinned_a_head_is_not_fooled_by_starts_either() -> None:
    root = "ab" * 32
    seen = LogHead.decode(b'{"size":20,"root":"%s","epoch":1}' % root.encode())
    rewound = LogHead.decode(b'{"size":21,"root":"%s","epoch":12}' % root.encode())
    with pytest.raises(FreshnessError, match="freshness.state"):
        require_not_older(rewound, seen)
    require_not_older(LogHead(size=31, root=seen.root, epoch=12), seen)


def test_two_brokers_from_one_state_are_not_confirmed_in_turns(watched: Watched) -> None:
    """Both forks grow; the host shows the witness now this one, now that one, each longer than what it saw last."""
    watched.witness.round()
    fork = watched.world.store.copy()
    watched.world.restart()
    watched.witness.round()  # the first fork is thawed
    decide(watched, 1)
    watched.witness.round()
    first = watched.world.core
    watched.world.restart(fork)
    pump(watched.world, 4)
    assert watched.world.core is not first
    for _ in range(2):
        with pytest.raises(FreshnessError, match="freshness.state"):
            watched.witness.round()
    assert watched.world.describe().frozen


def test_a_fork_that_ran_ahead_unseen_is_refused(watched: Watched) -> None:
    """It was thawed at the common head and has more decisions than the other fork has starts: only history tells."""
    watched.witness.round()
    decide(watched, 1)
    watched.witness.round()
    common = watched.world.store.copy()
    decide(watched, 5)  # unseen by the witness, within what it may run ahead
    ahead = watched.world.store.copy()
    watched.world.restart(common)
    watched.witness.round()
    decide(watched, 2)
    watched.witness.round()
    watched.world.restart(ahead)
    pump(watched.world, 2)
    require_not_older(watched.world.head, watched.remembered)
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.round()
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.world.register_data()


def test_an_honest_broker_may_start_as_often_as_it_must(watched: Watched) -> None:
    """Its witness was away all the while; its history says that it is the same."""
    watched.witness.round()
    decide(watched, 2)
    watched.witness.round()
    decide(watched, 2)
    pump(watched.world, 5)
    watched.again().round()
    assert not watched.world.describe().frozen
    watched.world.restart(watched.world.store.copy())
    watched.again().round()
    assert not watched.world.describe().frozen


def test_a_budget_is_not_regained_by_rewinding_to_the_witnessed_head_again_and_again(watched: Watched) -> None:
    """The witness is kept away while answers are drawn; what it never saw is as if it had not been, every time."""
    world = watched.world
    watched.witness.round()
    job_id = world.start_job()
    with world.attended(watched.identity.signing_key):
        model = world.finish(job_id)
        enclave, grant = world.launch(QUERY, job_id), world.grant(model, answers=100)
    watched.witness.round()
    for _ in range(3):
        witnessed = world.store.copy()
        with pytest.raises(UnavailableError, match="unavailable.frozen"):
            world.draw(enclave, grant, 64)
        world.restart(witnessed)
        watched.witness.round()
    with world.attended(watched.identity.signing_key):
        assert world.draw(enclave, grant, 64).answers == 64
        assert world.draw(enclave, grant, 64).answers == 36


def test_attempts_are_not_regained_by_rewinding_to_the_witnessed_head(watched: Watched) -> None:
    """Each launch lets provider code see the data again; a policy allows three of a slot, not three a rewind."""
    world = watched.world
    watched.witness.round()
    job_id = world.start_job()
    watched.witness.round()
    for _ in range(5):
        witnessed = world.store.copy()
        with pytest.raises(UnavailableError, match="unavailable.frozen"):
            world.launch(TRAINER, job_id)
        world.restart(witnessed)
        watched.witness.round()


def test_a_revocation_is_not_promised_before_it_lasts(watched: Watched) -> None:
    world = watched.world
    watched.witness.round()
    data = world.register_data()
    watched.witness.round()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        world.revoke(data.owner, "dataset", data.dataset_id)
    with world.attended(watched.identity.signing_key):
        world.revoke(data.owner, "dataset", data.dataset_id)
