"""The SQL database behind job board and registry (side: host).

SQLite by default, PostgreSQL by address; the SQL is common to both. A writing transaction excludes every other one: it
begins IMMEDIATE on SQLite and locks the one row of `write_lock` elsewhere, so a claim or a reservation reads what it
then changes. Readers are never blocked (write-ahead log; snapshots).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event, insert, make_url, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from common.errors import ConflictError, UnavailableError
from common.untrusted.tables import METADATA, write_lock

_BUSY_SECONDS: Final = 20
_READING: Final = "cloister_reading"


class Database:
    """One engine. Raises `UnavailableError` (unavailable.registry) whenever the database does not do its work."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._is_sqlite = parsed.get_backend_name() == "sqlite"
        if self._is_sqlite and parsed.database:
            _make_private_file(Path(parsed.database))
        self._engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=not self._is_sqlite)
        if self._is_sqlite:
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._create_tables()

    def _create_tables(self) -> None:
        with self._translated(), self._engine.begin() as connection:
            METADATA.create_all(connection)
            if connection.execute(select(write_lock)).first() is None:
                connection.execute(insert(write_lock).values(name="write"))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that excludes other writers, committed at the end, rolled back by an exception."""
        with self._translated(), self._engine.begin() as connection:
            if not self._is_sqlite:
                connection.execute(select(write_lock).with_for_update())
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(**{_READING: True})

    def is_alive(self) -> bool:
        """Whether it answers (for /readyz)."""
        with self.reading() as connection:
            return connection.execute(select(write_lock)).first() is not None

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as cause:
            raise ConflictError("conflict.registered") from cause
        except SQLAlchemyError as cause:
            raise UnavailableError("unavailable.registry") from cause


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_SECONDS * 1000}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
