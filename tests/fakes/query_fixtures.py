"""Fixtures over tests/fakes/query_world."""

from pathlib import Path

import pytest

from tests.fakes.query_world import QueryWorld


@pytest.fixture(scope="session")
def world_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated platform's keys are made once."""
    return tmp_path_factory.mktemp("query_world")


@pytest.fixture
def world(world_directory: Path) -> QueryWorld:
    """Fresh parties, a fresh model and a full ledger."""
    return QueryWorld(world_directory)
