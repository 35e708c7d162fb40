"""A private stack that serves models which real short jobs have made (side: owner).

Broker, witness, queues, front, worker, enclaves and sandboxes are those of any installation; the models are trained
for a step or two, exported to graphs by their trainers, placed by the broker, and asked under an owner's grants.

`python -m bench.serve_scene DIRECTORY MODEL...` holds a stack of its own checkout, which is the product's or one of
bench/serve_builds, until its stdin ends.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.kill_scene import enrolled, trained_grant
from bench.serve_models import LONGER, MODELS, ServedModel
from client import events as e
from client import ordering, owner, provider, user
from client.context import Party
from client.measuring import CODE_ROOT
from client.policy_terms import PolicyTerms, ProviderTerms
from common.errors import PolicyError, UnavailableError
from deploy.embedded.stack import EmbeddedStack

ANSWERS: Final = 1 << 32
"""Of each grant: no run comes near it."""

ROWS: Final = 64
"""Different rows that users ask about."""

READY: Final = b"ready\n"
STOP_SECONDS: Final = 120.0


@dataclass(frozen=True)
class ServeScene:
    """A stack of the checkout `tree`, with a user who may ask each of the models that it serves."""

    stack: EmbeddedStack
    directory: Path
    tree: Path = CODE_ROOT

    @property
    def user(self) -> Party:
        """Who asks."""
        return Party(self.directory / "user")

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
def served(directory: Path, models: Sequence[ServedModel], tree: Path = CODE_ROOT) -> Iterator[ServeScene]:
    """A stack of `tree` in `directory`, which is made, and a trained model of each kind. It is stopped at the end.

    Raises `RuntimeError` where it does not come up; what it said stands on this process's stderr.
    """
    directory.mkdir()
    command = [sys.executable, "-P", "-m", "bench.serve_scene", str(directory), *(one.name for one in models)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}
    )
    with process, contextlib.ExitStack() as ending:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a scene has pipes")
        ending.callback(process.wait, STOP_SECONDS)
        ending.callback(process.stdin.close)
        if process.stdout.readline() != READY:
            raise RuntimeError(f"no stack with {', '.join(one.name for one in models)} came up")
        yield ServeScene(EmbeddedStack(directory / "state"), directory, tree)


def main() -> None:
    """Hold the stack that the arguments say."""
    directory, models = Path(sys.argv[1]), [MODELS[name] for name in sys.argv[2:]]
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory)
        for model in models:
            _make(ServeScene(stack, directory), parties, model)
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        sys.stdin.read()
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
    terms = PolicyTerms(providers=(maker.identity.signing_key.party,), max_jobs=len(LONGER), answers_total=ANSWERS)
    e.outcome(owner.set_policy(holder, dataset.dataset_id, terms), e.PolicySigned)
    training = ordering.Training(dataset.dataset_id, bundle.bundle_id, trainers=1, answer_timing=model.timing)
    _grant(parties, training, model, place / "grant.json")


def _grant(parties: dict[str, Party], training: ordering.Training, model: ServedModel, file: Path) -> None:
    """For a model that is answered by its graph. Raises `UnavailableError` (unavailable.rounds) after the last try."""
    for number, wishes in enumerate(model.jobs()):
        tried = file.with_name(f"try-{number}.json")
        with contextlib.suppress(UnavailableError, PolicyError):  # no round was done, or no graph came in time
            grant = trained_grant(parties["owner"], parties["user"], training, tried, ANSWERS, wishes)
            if user.open_session(parties["user"], grant).profile.answered_by == "graph":
                tried.rename(file)
                return
    raise UnavailableError("unavailable.rounds", expected="a model with a graph", seen=f"{len(LONGER)} jobs without")


if __name__ == "__main__":
    main()
