"""Identifiers as command line arguments: a wrong one is refused before anything happens (side: owner)."""

from typing import Any

import click

from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest, Identifier, JobId, ModelId, PartyKey


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


PARTY_KEY = IdentifierType(PartyKey, "party key")
DIGEST = IdentifierType(Digest, "digest")
DATASET = IdentifierType(DatasetId, "data set")
BUNDLE = IdentifierType(BundleId, "bundle")
JOB = IdentifierType(JobId, "job")
MODEL = IdentifierType(ModelId, "model")
