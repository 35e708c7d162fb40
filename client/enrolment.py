"""Whose requests the operator takes: enrolling an identity by hand, and withdrawing one (side: host: the operator).

The registry's database is changed where it lies, so this runs on the operator's machine; running services see it with
the next request. A withdrawn identity keeps what it has stored, and what the key broker knows of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from client.events import Ended, Event
from common.errors import refusal_of
from common.identifiers import PartyKey
from common.untrusted.database import Database
from common.untrusted.enrolment import Enrolments
from common.untrusted.settings import HostSettings

INGEST_SETTINGS: Final = Path("settings", "ingest.json")
"""Those of the stack in a state directory."""


class RegistrySettings(HostSettings):
    """As much of the ingest service's settings as this needs."""

    database_url: str
    default_quota_bytes: Annotated[int, Field(ge=0)] = 8 << 30


def withdraw(settings: Path, party: PartyKey) -> Iterator[Event]:
    """Take no more requests of this identity. Ends with `Ended`. Raises `NotFoundError` (not_found.enrolment)."""
    _enrolments(settings)[0].withdraw(party)
    yield Ended(identifier=party, state="withdrawn")


def admit(settings: Path, party: PartyKey, quota_bytes: int | None = None) -> Iterator[Event]:
    """Enrol this identity, or take its withdrawal back. Ends with `Ended`. Raises `PolicyError` (policy.identity)."""
    enrolments, default = _enrolments(settings)
    enrolments.admit(party, default if quota_bytes is None else quota_bytes)
    yield Ended(identifier=party, state="enrolled")


def _enrolments(path: Path) -> tuple[Enrolments, int]:
    if not path.exists():
        raise refusal_of("not_found.file", expected="the ingest service's settings", seen=path)
    settings = RegistrySettings.read(path)
    return Enrolments(Database(settings.database_url)), settings.default_quota_bytes
