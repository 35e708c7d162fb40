"""What all commands share: where the party's directory and the services are, and how to show events (side: owner)."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError

from client.commands.state_directory import EMBEDDED, state_directory
from client.commands.types import InputPath
from client.context import Endpoints, Party
from client.events import Event
from client.rendering import JsonLines, Show, Terminal
from client.stack_access import ENDPOINTS_FILE, TRUST_SETTINGS_FILE
from common.enclave.trust_settings import TrustSettings
from common.errors import CloisterError, FormatError, NotFoundError

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

PATH: Final = click.Path(path_type=Path)


def with_options(command: CommandT, options: Iterable[Callable[[CommandT], CommandT]]) -> CommandT:
    """The command with these options, which its help shows in their order."""
    for option in reversed(tuple(options)):
        command = option(command)
    return command


@dataclass(frozen=True)
class Surroundings:
    """What the shared options of a command say."""

    home: Path
    name: str
    endpoints_file: Path | None
    state: Path
    show: Show

    @property
    def party(self) -> Party:
        """The party that acts."""
        return self.other_party(self.name)

    def other_party(self, name: str) -> Party:
        """Another identity of this machine."""
        return Party(self.home / name, self._known_endpoints())

    def _known_endpoints(self) -> Endpoints | None:
        path = self.endpoints_file or self.state / ENDPOINTS_FILE
        return Endpoints.decode(path.read_bytes()) if path.exists() else None

    def trust_settings(self, named: Path | None = None) -> TrustSettings:
        """The named trust settings, or those of the stack in the state directory.

        Raises `NotFoundError` (not_found.endpoints) where there is neither.
        """
        path = named or self.state / TRUST_SETTINGS_FILE
        if not path.exists():
            raise NotFoundError("not_found.endpoints", expected=path)
        return TrustSettings.decode(path.read_bytes())

    def endpoints(self) -> Endpoints:
        """Addresses of the services: the named file, or the one of the stack in the state directory."""
        known = self._known_endpoints()
        if known is None:
            raise NotFoundError("not_found.endpoints", expected=self.endpoints_file or self.state / ENDPOINTS_FILE)
        return known

    def run(self, events: Iterable[Event], tap: Callable[[Event], None] = lambda _: None) -> None:
        """Carry out an operation and show what it tells. A refusal ends the command with status 1.

        `tap` sees each event first.
        """
        try:
            for event in events:
                tap(event)
                self.show.show(event)
        except CloisterError as error:
            self.show.refused(error)
            raise SystemExit(1) from None
        finally:
            self.show.close()


def party_command(default_name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of every command; the function gets `Surroundings` first. Refusals end it with status 1."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
        @click.option("--as", "name", default=default_name, show_default=True, help="Name of the identity that acts.")
        @click.option(
            "--home",
            type=PATH,
            envvar="CLOISTER_HOME",
            default=Path("~/.config/cloister"),
            show_default=True,
            help="Directory that holds the identity directories.",
        )
        @click.option(
            "--endpoints",
            "endpoints_file",
            type=PATH,
            envvar="CLOISTER_ENDPOINTS",
            help="File with the addresses of the services.",
        )
        @click.option(
            "--state",
            type=PATH,
            envvar="CLOISTER_STATE",
            default=state_directory,
            show_default=str(EMBEDDED),
            help="State directory of a stack on this machine.",
        )
        @functools.wraps(function)
        def command(
            *, as_json: bool, name: str, home: Path, endpoints_file: Path | None, state: Path, **arguments: Any
        ) -> None:
            show: Show = JsonLines() if as_json else Terminal()
            try:
                for one in click.get_current_context().command.params:
                    if isinstance(one.type, InputPath):
                        value = arguments[one.name or ""]
                        for path in value if isinstance(value, tuple) else (value,):
                            one.type.require(path)
                function(Surroundings(home.expanduser(), name, endpoints_file, state, show), **arguments)
            except CloisterError as error:
                show.refused(error)
                raise SystemExit(1) from None
            except ValidationError as cause:
                wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in cause.errors())
                show.refused(FormatError("format.message", expected="options within their bounds", seen=wrong))
                raise SystemExit(1) from None

        return command

    return decorate
