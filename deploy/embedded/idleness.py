"""Does a stack have jobs under way? Before an upgrade their results are waited for (side: host).

A job's order names its release, and no launch of another build gets its keys: what is under way at `down` does not go
on under another build, and ends there as refused.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import func, select

from common.errors import UnavailableError
from common.untrusted.database import Database
from common.untrusted.tables import jobs
from deploy.embedded.state import StateDirectory

LOOK_SECONDS: Final = 1.0
_UNDER_WAY: Final = ("accepted", "reserved", "running")


def jobs_under_way(state: StateDirectory) -> int:
    """How many jobs have not ended, by the registry. Raises `UnavailableError` (unavailable.registry)."""
    try:
        url = str(json.loads((state.settings / "ingest.json").read_bytes())["database_url"])
    except (OSError, ValueError, KeyError) as cause:
        raise UnavailableError("unavailable.registry", expected="settings of a stack that was up") from cause
    database = Database(url)
    try:
        with database.reading() as connection:
            counted = select(func.count()).select_from(jobs).where(jobs.c.state.in_(_UNDER_WAY))
            return int(connection.execute(counted).scalar_one())
    finally:
        database.close()


def until_idle(state: StateDirectory, pause: Callable[[float], None] = time.sleep) -> Iterator[int]:
    """How many are under way, each time that changes; ends with 0. Raises as `jobs_under_way`."""
    before = -1
    while before != 0:
        now = jobs_under_way(state)
        if now != before:
            yield now
        before = now
        if now:
            pause(LOOK_SECONDS)
