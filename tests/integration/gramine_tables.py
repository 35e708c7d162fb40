"""The whole stack, its enclaves under `gramine-direct`: named by a test to the supervisor.

Before it is started, `build_enclaves` has built them in the state directory. Services get no environment of the
caller's, so where Gramine's tools lie stands there, too.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from client.measuring import CODE_ROOT
from common.enclave.development import development_trust_settings, launcher_settings, make_development_release
from common.enclave.gramine_launch import GramineSettings
from common.enclave.roles import ROLES
from common.identifiers import RoleName
from deploy.embedded.specification import ServiceSpec
from deploy.embedded.state import StateDirectory, write_private
from deploy.embedded.table import whole_stack
from deploy.enclaves import tools
from deploy.enclaves.building import build
from deploy.enclaves.staging import StagedFile
from tests.fakes.installation import bring_digests

_TOOLS: Final = "tools"
"""A link to the folder of `gramine-direct`."""


def build_enclaves(state: StateDirectory) -> Mapping[RoleName, list[StagedFile]]:
    """The files of each role's enclave. Raises `UnavailableError` (unavailable.gramine) where Gramine is absent."""
    state.prepare()
    bring_digests(state.root)
    make_development_release(state.root)
    (state.root / _TOOLS).symlink_to(tools.require_tool(tools.DIRECT_TOOL).parent)
    return dict(build(_enclaves(state), ROLES.values(), development_trust_settings(state.root), CODE_ROOT))


def under_gramine_direct(state: StateDirectory) -> list[ServiceSpec]:
    """The services of `whole_stack`, whose launchers' settings name the tool."""
    services = whole_stack(state)
    gramine = GramineSettings(tool="gramine-direct", directory=str(_enclaves(state)))
    settings = launcher_settings(state.root).model_copy(update={"gramine": gramine})
    write_private(state.settings / "launcher.json", settings.encode())
    return [_with_tools(service, state.root / _TOOLS) for service in services]


def _enclaves(state: StateDirectory) -> Path:
    return state.root / "enclaves"


def _with_tools(service: ServiceSpec, folder: Path) -> ServiceSpec:
    environment = dict(service.environment)
    if "PATH" in environment:
        environment["PATH"] = f"{folder}:{environment['PATH']}"
    return replace(service, environment=environment)
