from pathlib import Path

import pytest

from tests.fakes.broker_world import BrokerWorld


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker without witnesses."""
    return BrokerWorld(tmp_path)
