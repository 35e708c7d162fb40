"""How an enrolment ends: the operator withdraws it and may admit the identity again, or the identity's recovery key has
ended it for good (side: host).

It concerns service, never secrecy: the key broker judges every document by itself. A withdrawn identity's requests are
refused; what it has stored stays, and counts, until the operator deletes it. When an identity is replaced, its quota
and what is entered here as its own go over to its successor.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select, update

from common.errors import NotFoundError, PolicyError
from common.identifiers import PartyKey
from common.untrusted.database import Database
from common.untrusted.tables import bundles, datasets, identities, job_owners, objects, withdrawn

_OWN: Final[tuple[tuple[Table, str | None], ...]] = (
    (datasets, None),
    (bundles, None),
    (objects, "root"),
    (job_owners, "job_id"),
)
"""What goes over to a successor. With a column's name: each of its values has one row for a party."""


class Enrolments:
    """Whose requests are taken, beside `Registry`, which knows what each party has."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def withdraw(self, party: PartyKey) -> None:
        """Take no more requests of it, until it is admitted. Raises `NotFoundError` (not_found.enrolment)."""
        with self._database.writing() as connection:
            if _row(connection, identities, party) is None:
                raise NotFoundError("not_found.enrolment", expected="an enrolled identity", seen=party)
            if _row(connection, withdrawn, party) is None:
                self._withdraw(connection, party, final=False)

    def admit(self, party: PartyKey, quota_bytes: int) -> None:
        """Enrol it, or take back a withdrawal. Raises `PolicyError` (policy.identity) for one that is over for good."""
        with self._database.writing() as connection:
            ended = _row(connection, withdrawn, party)
            if ended is not None and ended.final:
                raise PolicyError("policy.identity", expected="an identity that its recovery key has not ended")
            connection.execute(delete(withdrawn).where(withdrawn.c.party == party))
            self._enrol(connection, party, quota_bytes)

    def end(self, party: PartyKey, successor: PartyKey | None) -> None:
        """The recovery key has spoken, and the key broker has agreed. Idempotent; an unknown identity stays unknown."""
        with self._database.writing() as connection:
            row = _row(connection, identities, party)
            if row is None:
                return
            connection.execute(delete(withdrawn).where(withdrawn.c.party == party))
            self._withdraw(connection, party, final=True)
            if successor is not None:
                self._enrol(connection, successor, row.quota_bytes)
                for table, one_each in _OWN:
                    _hand_over(connection, table, one_each, party, successor)

    def _withdraw(self, connection: Connection, party: PartyKey, *, final: bool) -> None:
        connection.execute(insert(withdrawn).values(party=party, final=final, withdrawn_at=self._now()))

    def _enrol(self, connection: Connection, party: PartyKey, quota_bytes: int) -> None:
        if _row(connection, identities, party) is None:
            connection.execute(insert(identities).values(party=party, enrolled_at=self._now(), quota_bytes=quota_bytes))


def _row(connection: Connection, table: Table, party: PartyKey) -> Any:
    return connection.execute(select(table).where(table.c.party == party)).first()


def _hand_over(
    connection: Connection, table: Table, one_each: str | None, party: PartyKey, successor: PartyKey
) -> None:
    if one_each is not None:
        others = table.alias()
        held = select(others.c[one_each]).where(others.c.party == successor)
        connection.execute(delete(table).where(table.c.party == party, table.c[one_each].in_(held)))
    connection.execute(update(table).where(table.c.party == party).values(party=successor))
