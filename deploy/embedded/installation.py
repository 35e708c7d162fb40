"""What must hold before a stack starts: the distribution's programs, and the build that made its state (side: host)."""

import shutil
from typing import Final

from common.enclave.development import measure_roles, read_development_release
from common.enclave.roles import role_spec
from common.errors import ConflictError, UnavailableError
from common.messages.evidence import TrustLevel
from deploy.embedded.earlier_builds import broker_of, can_be_run
from deploy.embedded.rabbitmq import find_rabbitmq
from deploy.embedded.redis_server import find_redis
from deploy.embedded.state import StateDirectory

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


def require_same_build(state: StateDirectory, *, hand_over: bool = False) -> None:
    """The key broker's state is sealed to its measurement: another build can't open it, and would wait for ever.

    With `hand_over` another build may start where an older one's broker is still there to be run: it hands over.
    Raises `ConflictError` (conflict.build). A state directory without a release is new and fits.
    """
    stored = read_development_release(state.root)
    if stored is None:
        return
    broker = role_spec("broker")
    made_by, now = broker_of(stored), measure_roles(state.root, [broker])[broker.role][TrustLevel.SIMULATION].code
    if made_by != now and not (hand_over and can_be_run(state, made_by)):
        raise ConflictError("conflict.build", expected=made_by, seen=now)
