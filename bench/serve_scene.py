"""A private stack that serves models which real short jobs have made (side: owner).

Broker, witness, queues, front, worker, enclaves and sandboxes are those of any installation; the models are trained
for one step, exported to graphs by their trainers, placed by the broker, and asked under an owner's grants.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.kill_driver import PATIENT_JOB
from bench.kill_scene import enrolled, trained_grant
from bench.serve_models import ServedModel
from client import events as e
from client import ordering, owner, provider, user
from client.context import Party
from client.policy_terms import PolicyTerms, ProviderTerms
from common.errors import UnavailableError
from deploy.embedded.stack import EmbeddedStack

ANSWERS: Final = 1 << 32
"""Of each grant: no run comes near it."""

ROWS: Final = 64
"""Different rows that users ask about."""

JOBS: Final = tuple(
    replace(PATIENT_JOB, rounds=4, warmup_seconds=20 * times, step_milliseconds=200 * times) for times in (1, 4, 12)
)
"""What is tried in turn: a trainer exports its model's graph beside small rounds and sends it with one, which takes 4 s
of a core and two minutes of a machine with twenty other tasks."""


@dataclass(frozen=True)
class ServeScene:
    """A stack with a user who may ask each of `models`."""

    stack: EmbeddedStack
    directory: Path
    user: Party
    models: Sequence[ServedModel]

    def rows(self, model: ServedModel) -> Path:
        """The file of the rows that users ask about."""
        return self.directory / model.name / "rows.npy"

    def sealed(self, model: ServedModel, users: int) -> dict[str, Any]:
        """The load generator's target (bench/serve_callers)."""
        return {
            "kind": "sealed",
            "users": users,
            "rows": str(self.rows(model)),
            "party": str(self.user.directory),
            "grant": str(self.directory / model.name / "grant.json"),
        }


@contextlib.contextmanager
def served(directory: Path, models: Sequence[ServedModel]) -> Iterator[ServeScene]:
    """A stack in `directory`, and a trained model of each kind. It is stopped at the end."""
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory)
        scene = ServeScene(stack, directory, parties["user"], models)
        for model in models:
            _make(scene, parties, model)
        yield scene
    finally:
        stack.stop()


def _make(scene: ServeScene, parties: dict[str, Party], model: ServedModel) -> None:
    """Bundle, data, policy, a job of one step, and a grant."""
    place, maker, holder = scene.directory / model.name, parties["provider"], parties["owner"]
    place.mkdir()
    np.save(scene.rows(model), model.rows(ROWS, seed=2))
    e.outcome(provider.pack(maker, model.write_bundle(place / "source"), place / "bundle"), e.Sealed)
    published = provider.publish(maker, place / "bundle", ProviderTerms(answers_total=ANSWERS))
    bundle = e.outcome(published, e.BundleRegistered)
    e.outcome(owner.seal(holder, model.write_data(place / "images.npz"), place / "data"), e.Sealed)
    dataset = e.outcome(owner.upload(holder, place / "data"), e.DatasetRegistered)
    terms = PolicyTerms(providers=(maker.identity.signing_key.party,), max_jobs=len(JOBS), answers_total=ANSWERS)
    e.outcome(owner.set_policy(holder, dataset.dataset_id, terms), e.PolicySigned)
    training = ordering.Training(dataset.dataset_id, bundle.bundle_id, trainers=1)
    _grant(parties, training, place / "grant.json")


def _grant(parties: dict[str, Party], training: ordering.Training, file: Path) -> None:
    """For a model that is answered by its graph. Raises `UnavailableError` (unavailable.rounds) after the last try."""
    for number, wishes in enumerate(JOBS):
        tried = file.with_name(f"try-{number}.json")
        with contextlib.suppress(UnavailableError):
            grant = trained_grant(parties["owner"], parties["user"], training, tried, ANSWERS, wishes)
            if user.open_session(parties["user"], grant).profile.answered_by == "graph":
                tried.rename(file)
                return
    raise UnavailableError("unavailable.rounds", expected="a model with a graph", seen=f"{len(JOBS)} jobs without")
