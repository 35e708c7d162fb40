"""Tables of fake services, named by tests of the supervisor."""

from common.errors import ConflictError
from deploy.embedded.specification import ServiceSpec, python_service
from deploy.embedded.state import StateDirectory

_MODULE = "tests.integration.fake_service"


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
    """A service that always ends at once."""
    return [python_service(state, "broken", _MODULE, {"exit_status": 3})]


def refusing(state: StateDirectory) -> list[ServiceSpec]:
    """A table that cannot be made."""
    raise ConflictError("conflict.state_directory", seen=state.root)
