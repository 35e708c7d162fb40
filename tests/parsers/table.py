"""The table (side: library)."""

from types import MappingProxyType
from typing import Final

from tests.parsers import documents, evidence, gpus, hosts, objects, streams
from tests.parsers.parser import Parser

PARSERS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            *documents.PARSERS,
            *evidence.PARSERS,
            *gpus.PARSERS,
            *hosts.PARSERS,
            *objects.PARSERS,
            *streams.PARSERS,
        )
    }
)
"""By name, for `--parser NAME` and the names of tests."""

__all__ = ["PARSERS", "Parser"]
