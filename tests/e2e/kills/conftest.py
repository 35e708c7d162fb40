"""A stack to kill, an owner with many jobs, and a user who asks all the while."""

from collections.abc import Iterator

import pytest

from bench.kill_asking import Asker
from bench.kill_driver import KillDriver
from bench.kill_scene import Scene, played_on
from tests.e2e.command_process import naming

ROUNDS = 16
"""At most."""


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Nobody else's: after kills a stack is not the same."""
    place = tmp_path_factory.mktemp("kills")
    with played_on(place / "state", place / "parties", ROUNDS) as scene:
        yield scene
    assert naming(place) == []


@pytest.fixture
def driver(scene: Scene) -> KillDriver:
    """An owner who may order many jobs."""
    return scene.driver


@pytest.fixture
def asker(scene: Scene) -> Asker:
    """A user who asks the same model as long as the tests run."""
    return scene.asker
