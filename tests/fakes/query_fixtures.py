"""Fixtures over tests/fakes/query_world."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.query_world import QueryWorld


@pytest.fixture(scope="session")
def world_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated platform's keys are made once."""
    return tmp_path_factory.mktemp("query_world")


@pytest.fixture
def world(world_directory: Path) -> Iterator[QueryWorld]:
    """Fresh parties, a fresh model and a full ledger."""
    made = QueryWorld(world_directory)
    yield made
    made.close()
