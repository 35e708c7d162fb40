"""Promise: what is old opens nothing again, at any service. `./cloister bench attest` plays the same table, longer."""

from pathlib import Path
from typing import Final

import pytest

from bench.rollback import KINDS
from bench.rollback_launches import Recorder
from bench.rollback_tally import Tally
from common.broker_channel import open_reply
from common.errors import FreshnessError, PolicyError
from common.messages.budget import BudgetBlock
from tests.fakes.broker_world import QUERY, BrokerWorld

LENGTH: Final = 3

LEAST: Final = 12
"""Of each kind."""


@pytest.mark.parametrize("name", KINDS)
def test_what_is_old_is_not_believed_again(name: str, tmp_path: Path) -> None:
    tally = KINDS[name].play(tmp_path, LENGTH)
    assert tally.accepted == []
    assert tally.odd == [], "refused, but not for being old"
    assert tally.tried >= LEAST


def test_a_draw_that_is_brought_again_spends_answers_and_gives_nobody_more(tmp_path: Path) -> None:
    """The host can waste a grant. Every block over it is refused, and the launch takes one reply to its question."""
    world = BrokerWorld(tmp_path)
    host, job_id = Recorder(world), world.start_job()
    model = world.finish(job_id)
    launch, grant = world.launch(QUERY, job_id), world.grant(model, answers=100)
    assert world.draw(launch, grant, 40, channel=host.channel()).remaining == 60
    (raw, _) = host.carried[-1]
    for left in (20, 0):
        body = open_reply(world.handle(raw), raw, world.genesis.signing_public).body
        assert isinstance(body, BudgetBlock)
        assert body.remaining == left
    with pytest.raises(PolicyError, match="policy.budget"):
        host.again(raw)
    with pytest.raises(PolicyError, match="policy.budget"):
        world.draw(launch, grant, 1)


def _refuse(code: str) -> None:
    raise FreshnessError(code)


def test_a_tally_tells_what_was_believed_and_what_was_refused_for_another_reason() -> None:
    tally, state = Tally(), [0]
    tally.refuses("stale", "freshness.order", _refuse, "freshness.order")
    assert (tally.tried, tally.accepted, tally.odd) == (1, [], [])
    tally.refuses("believed", "freshness.order", list)
    tally.refuses("refused by chance", "freshness.order", _refuse, "freshness.grant")
    tally.unmoved("harmless", lambda: list(state), list)
    tally.unmoved("moved", lambda: list(state), state.append, 1)
    tally.counted("frames", 5, 3)
    assert tally.accepted == ["believed", "moved", "frames", "frames"]
    assert tally.odd == ["refused by chance: freshness.grant"]
    assert tally.tried == 5 + 5
