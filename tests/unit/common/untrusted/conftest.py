"""Board and registry promise the same on both databases: what takes `database_url` is tested on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.postgresql import PostgreSql, running, what_is_missing


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A private PostgreSQL for the session; without one, these tests are skipped and say so."""
    if missing := what_is_missing():
        pytest.skip(missing)
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, on each kind of server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.sqlite"
        return
    server: PostgreSql = request.getfixturevalue("postgresql")
    with server.database() as url:
        yield url
