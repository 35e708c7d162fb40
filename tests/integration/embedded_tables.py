"""Tables of fake services, named by tests of the supervisor."""

from dataclasses import replace

from common.errors import ConflictError
from deploy.embedded.specification import ServiceSpec, python_service
from deploy.embedded.state import StateDirectory

_MODULE = "tests.integration.fake_service"

SHORT_PAUSES = (0.1, 0.2, 0.3)


def chain(state: StateDirectory) -> list[ServiceSpec]:
    """`second` needs `first`, which is patient."""
    return [
        python_service(state, "second", _MODULE, {}, depends_on=("first",)),
        python_service(state, "first", _MODULE, {"unready_answers": 3}),
    ]


def daemons(state: StateDirectory) -> list[ServiceSpec]:
    """A service whose grandchildren fled into sessions of their own and do not hear SIGTERM."""
    return [python_service(state, "fleeing", _MODULE, {"daemons": 2})]


def defective(state: StateDirectory) -> list[ServiceSpec]:
    """A service that always ends at once, and is not waited for as long as those of a whole stack."""
    return [replace(python_service(state, "broken", _MODULE, {"exit_status": 3}), restart_pauses=SHORT_PAUSES)]


def refusing(state: StateDirectory) -> list[ServiceSpec]:
    """A table that cannot be made."""
    raise ConflictError("conflict.state_directory", seen=state.root)
