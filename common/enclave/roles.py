"""The enclave roles and where their code begins (side: library)."""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.errors import NotFoundError
from common.identifiers import RoleName
from common.messages.base import Message

SANDBOX_DATA: Final = ("common/sandboxed",)
"""What runs inside the sandbox is started by path, so no import names it: it is measured as a whole."""

_ModuleName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$", max_length=200)]


class RoleSpec(Message):
    """One role. `entry` is the module whose `main()` is the enclave; `needs_sandbox` adds `SANDBOX_DATA`."""

    type: Literal["role-spec"] = "role-spec"
    version: Literal[1] = 1
    role: RoleName
    entry: _ModuleName
    needs_sandbox: bool = False


ROLES: Final[dict[str, RoleSpec]] = {
    spec.role: spec
    for spec in (
        RoleSpec(role=RoleName("broker"), entry="services.attestation.enclave"),
        RoleSpec(role=RoleName("trainer"), entry="services.trainer_enclave.enclave", needs_sandbox=True),
        RoleSpec(role=RoleName("paramserver"), entry="services.paramserver.enclave"),
        RoleSpec(role=RoleName("query"), entry="services.query_enclave.enclave", needs_sandbox=True),
    )
}
"""The roles that a release names."""


def role_spec(role: str, extra: tuple[RoleSpec, ...] = ()) -> RoleSpec:
    """The role of this name. `extra` may add roles (another code, another measurement), never replace one."""
    for spec in (*ROLES.values(), *extra):
        if spec.role == role:
            return spec
    raise NotFoundError("not_found.role", expected=sorted(ROLES), seen=role)
