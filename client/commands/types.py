"""Identifiers and files as command line arguments: a wrong one is refused before anything happens (side: owner)."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from client.joint import Partner
from common.enclave.roles import ROLES
from common.errors import FormatError, refusal_of
from common.identifiers import (
    BundleId,
    DatasetId,
    Digest,
    Fmspc,
    GrantId,
    Identifier,
    JobId,
    ModelId,
    PartyKey,
    PlatformId,
)
from common.messages.evidence import REPORT_DATA_BYTES
from common.messages.serving import SERVING_NAME_PATTERN


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


class FileOfRole(click.ParamType[tuple[str, Path]]):
    """ROLE=FILE: what a role's enclave is on some platform, as its build or its quote says it."""

    name = "role=file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Role and path of a file that is there."""
        if isinstance(value, tuple):
            return value
        role, _, path = str(value).partition("=")
        if role not in ROLES or not Path(path).is_file():
            self.fail(f"{value!r} is not ROLE=FILE with a role of {', '.join(sorted(ROLES))}", param, ctx)
        return role, Path(path)


class PartnerType(click.ParamType[Partner]):
    """DATASET:OWNER[:ROUNDS]: another owner, one of its data sets, and its least rounds."""

    name = "dataset:owner[:rounds]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Partner:
        """All, checked."""
        if isinstance(value, Partner):
            return value
        dataset_id, _, rest = str(value).partition(":")
        owner, given, rounds = rest.partition(":")
        if given and not re.fullmatch(r"[1-9][0-9]{0,8}", rounds):
            self.fail(f"{value!r} is not DATASET:OWNER[:ROUNDS]: rounds are a number above 0", param, ctx)
        try:
            return Partner(DatasetId(dataset_id), PartyKey(owner), int(rounds) if given else None)
        except FormatError as refusal:
            self.fail(f"{value!r} is not DATASET:OWNER[:ROUNDS]: {refusal.expected}", param, ctx)


class BundleName(click.ParamType[str]):
    """A bundle's name, as `provider.toml` may state it."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error says what it may consist of."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", str(value)):
            self.fail(f"{value!r} is not a name of up to 64 lower-case letters, digits and hyphens", param, ctx)
        return str(value)


class ServingNameType(click.ParamType[str]):
    """A name under which models are served."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error says what it may consist of."""
        if not re.fullmatch(SERVING_NAME_PATTERN, str(value)):
            self.fail(f"{value!r} is not a name of up to 32 lower-case letters, digits and hyphens", param, ctx)
        return str(value)


class ModelOrName(click.ParamType[ModelId | str]):
    """A model, or a name under which models are served: a name has no underscore."""

    name = "model|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ModelId | str:
        """Either of them, checked."""
        return (MODEL if str(value).startswith("model_") else SERVING_NAME).convert(value, param, ctx)


class ReportData(click.ParamType[bytes]):
    """64 bytes in hexadecimal."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes; a usage error says how many there must be."""
        if isinstance(value, bytes):
            return value
        if not re.fullmatch(r"[0-9a-fA-F]{128}", str(value)):
            self.fail(f"{value!r} is not {REPORT_DATA_BYTES} bytes in hexadecimal", param, ctx)
        return bytes.fromhex(value)


class InputPath(click.Path):
    """A file, or a directory, that must be there. The command that takes it calls `require`, and so refuses as ever."""

    def __init__(self, code: str = "not_found.file", *, kinds: Collection[str] = ("file",)) -> None:
        super().__init__(path_type=Path)
        self._code, self._kinds = code, kinds

    def require(self, path: Path | None) -> None:
        """Raises `NotFoundError`, with this argument's code, unless nothing was named or it is there to be read."""
        if path is None or (_kind(path) in self._kinds and os.access(path, os.R_OK)):
            return
        raise refusal_of(self._code, expected=f"a {' or '.join(self._kinds)} to read", seen=path)


def _kind(path: Path) -> str | None:
    return "directory" if path.is_dir() else "file" if path.is_file() else None


FILE = InputPath()
DIRECTORY = InputPath(kinds=("directory",))
FILE_OR_DIRECTORY = InputPath(kinds=("file", "directory"))
GRANT_FILE = InputPath("not_found.grant")
PARTY_KEY = IdentifierType(PartyKey, "party key")
DIGEST = IdentifierType(Digest, "digest")
DATASET = IdentifierType(DatasetId, "data set")
PARTNER = PartnerType()
BUNDLE = IdentifierType(BundleId, "bundle")
JOB = IdentifierType(JobId, "job")
MODEL = IdentifierType(ModelId, "model")
SERVING_NAME = ServingNameType()
MODEL_OR_NAME = ModelOrName()
FMSPC = IdentifierType(Fmspc, "FMSPC")
PLATFORM = IdentifierType(PlatformId, "platform")
BUNDLE_NAME = BundleName()
FILE_OF_ROLE = FileOfRole()
REPORT_DATA = ReportData()
GRANT = IdentifierType(GrantId, "grant")
