"""Promise: no older state of the key broker releases anything. The host keeps one after every decision of a busy life,
restores each of them in turn, as often as it likes, and asks for everything that a broker can release.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import FreshnessError, Refusal
from common.identifiers import JobId
from common.key_retrieval import Launch, renew_lease
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, MemoryStore, SealedBundle, SealedData
from tests.unit.client.test_witness import Watched

LIFE = 30
"""Data sets that come and go after what is asked for exists."""

LEAST = 500


class Life:
    """A broker with a model, an enclave that serves it, a running job; then many more decisions."""

    def __init__(self, watched: Watched) -> None:
        self.watched, self.world = watched, watched.world
        self.stores: list[MemoryStore] = []
        watched.witness.round()
        with self.world.attended(watched.identity.signing_key):
            self._live()
        watched.witness.round()

    def _live(self) -> None:
        world = self.world
        self.data: SealedData = world.register_data(max_jobs=9, answers_total=10_000)
        self.bundle: SealedBundle = world.register_bundle()
        done: JobId = world.start_job(self.data, self.bundle)
        model: Signed = world.finish(done)
        self.done, self.serving = done, world.launch(QUERY, done)
        self.grant = world.grant(model, answers=100)
        world.draw(self.serving, self.grant, 64)
        self.job_id: JobId = world.start_job(self.data, self.bundle)
        self.trainer: Launch = world.launch(TRAINER, self.job_id)
        for _ in range(LIFE):
            self.stores.append(world.store.copy())
            other = world.register_data()
            self.stores.append(world.store.copy())
            world.revoke(other.owner, "dataset", other.dataset_id)
        self.stores.append(world.store.copy())
        world.revoke(self.data.owner, "dataset", self.data.dataset_id)

    def wishes(self) -> dict[str, Callable[[], Any]]:
        """All that a broker releases, or promises."""
        world, data = self.world, self.data
        policy = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest)
        return {
            "a trainer's keys": lambda: world.launch(TRAINER, self.job_id, 1),
            "another attempt": lambda: world.launch(TRAINER, self.job_id),
            "the parameter server's keys": lambda: world.launch(PARAMSERVER, self.job_id),
            "a model's key": lambda: world.launch(QUERY, self.done),
            "answers": lambda: world.draw(self.serving, self.grant, 64),
            "a lease": lambda: renew_lease(world.runtime("trainer"), world.channel(), self.trainer),
            "a job": lambda: world.accept(sign(world.order(data, self.bundle), data.owner.key)),
            "a policy": lambda: world.channel().ask(world.policy_update(data, sign(policy, data.owner.key)), object),  # type: ignore[type-var]
            "a data set": world.register_data,
        }


def test_every_older_state_releases_nothing(tmp_path: Path) -> None:
    life = Life(Watched(tmp_path))
    newest, refused = life.watched.remembered, 0
    for store in life.stores:
        life.world.restart(store.copy())
        with pytest.raises(FreshnessError, match=r"freshness\.state"):
            life.watched.witness.round()
        for name, wish in life.wishes().items():
            with pytest.raises(Refusal) as refusal:
                wish()
            assert refusal.value.code == "freshness.state", name
            refused += 1
        assert life.watched.remembered == newest
    assert refused == len(life.stores) * len(life.wishes()) >= LEAST


def test_the_newest_state_still_serves_what_was_not_revoked(tmp_path: Path) -> None:
    """Else the test above would show nothing: the same wishes are granted where they may be."""
    life = Life(Watched(tmp_path))
    life.world.restart()
    life.watched.witness.round()
    with life.world.attended(life.watched.identity.signing_key):
        assert life.world.draw(life.serving, life.grant, 64).answers == 36
        life.wishes()["a model's key"]()
        life.wishes()["a data set"]()
        with pytest.raises(Refusal, match=r"conflict\.job_state|policy\.revoked"):
            life.wishes()["a lease"]()
