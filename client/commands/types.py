"""Identifiers as command line arguments: a wrong one is refused before anything happens (side: owner)."""

from pathlib import Path
from typing import Any

import click

from common.enclave.roles import ROLES
from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest, Fmspc, Identifier, JobId, ModelId, PartyKey, PlatformId


class IdentifierType(click.ParamType[Identifier]):
    """A checked identifier of one kind."""

    def __init__(self, kind: type[Identifier], name: str) -> None:
        self._kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Identifier:
        """The identifier; a usage error names the pattern."""
        try:
            return value if isinstance(value, self._kind) else self._kind(value)
        except FormatError as refusal:
            self.fail(f"{value!r} is not a {self.name}: {refusal.expected}", param, ctx)


class SigOfRole(click.ParamType[tuple[str, Path]]):
    """ROLE=FILE: the `.sig` file of a role's SGX enclave."""

    name = "role=file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Role and path of a file that is there."""
        if isinstance(value, tuple):
            return value
        role, _, path = str(value).partition("=")
        if role not in ROLES or not Path(path).is_file():
            self.fail(f"{value!r} is not ROLE=FILE with a role of {', '.join(sorted(ROLES))}", param, ctx)
        return role, Path(path)


PARTY_KEY = IdentifierType(PartyKey, "party key")
DIGEST = IdentifierType(Digest, "digest")
DATASET = IdentifierType(DatasetId, "data set")
BUNDLE = IdentifierType(BundleId, "bundle")
JOB = IdentifierType(JobId, "job")
MODEL = IdentifierType(ModelId, "model")
FMSPC = IdentifierType(Fmspc, "FMSPC")
PLATFORM = IdentifierType(PlatformId, "platform")
SIG_OF_ROLE = SigOfRole()
