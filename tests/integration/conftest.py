"""Fixtures of the integration tests. The private RabbitMQ and Redis come from tests/conftest.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from common.identifiers import ModelId
from deploy.embedded.stack import EmbeddedStack
from services.query_enclave.question_reader import connect
from tests.conftest import Broker

MakeStack = Callable[[str], EmbeddedStack]


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Stacks of `tests/integration/embedded_tables.py`, by the name of the table; stopped whatever happens."""
    made: list[EmbeddedStack] = []

    def make(table: str) -> EmbeddedStack:
        made.append(EmbeddedStack(tmp_path / f"state-{table}", f"tests.integration.embedded_tables:{table}"))
        return made[-1]

    yield make
    for stack in made:
        stack.stop()


@pytest.fixture
def redis(redis_server: Broker) -> Iterator[Redis]:
    """A client of the session's Redis."""
    client = connect(redis_server.url)
    yield client
    client.close()


@pytest.fixture
def model_id() -> ModelId:
    """A model of this test alone."""
    return ModelId.new()
