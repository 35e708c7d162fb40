"""Which programs of the distribution the stack needs, and what installs them (side: host)."""

import shutil
from typing import Final

from common.errors import UnavailableError
from deploy.embedded.rabbitmq import find_rabbitmq
from deploy.embedded.redis_server import find_redis

PACKAGES: Final = ("rabbitmq-server", "redis-server", "bubblewrap")
_SEARCH: Final = "/usr/local/bin:/usr/bin:/bin"


def missing_packages() -> list[str]:
    """Those of `PACKAGES` (Debian, Ubuntu) that are not there."""
    found = (find_rabbitmq(), find_redis(), shutil.which("bwrap", path=_SEARCH))
    return [package for package, program in zip(PACKAGES, found, strict=True) if program is None]


def require_installed() -> None:
    """Raises `UnavailableError` (unavailable.installation) naming what is missing."""
    if missing := missing_packages():
        raise UnavailableError(
            "unavailable.installation", expected=", ".join(PACKAGES), seen=f"no {', '.join(missing)}"
        )
