"""A fresh ingest service per test; the broker's platform, whose keys take a while, once per session."""

from pathlib import Path

import pytest

from tests.fakes.broker_world import BrokerWorld
from tests.fakes.ingest_world import IngestWorld


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> BrokerWorld:
    return BrokerWorld(tmp_path_factory.mktemp("broker"))


@pytest.fixture
def world(tmp_path: Path, broker: BrokerWorld) -> IngestWorld:
    return IngestWorld(tmp_path, broker)
