"""The tables of messages in docs/formats.md, made from the classes themselves (side: library).

`python -m tests.vectors.message_tables` writes them between the marks in the document; a test holds them together.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic_core import PydanticUndefined

import client.context
import client.ending_proof
import client.tpm.carrier
import client.witness_memory
import common.broker_statements
import common.bundle
import common.enclave.roles
import common.enclave.trust_settings
import common.messages
import common.model_graph.design
import common.model_graph.graph
import common.model_graph.nodes
import common.model_graph.parameters
import services.attestation.records
from common.identifiers import Identifier
from common.messages.base import Message

_MODULES: Final = (
    *(importlib.import_module(f"common.messages.{one.name}") for one in pkgutil.iter_modules(common.messages.__path__)),
    common.bundle,
    common.model_graph.parameters,
    common.model_graph.nodes,
    common.model_graph.graph,
    common.model_graph.design,
    common.broker_statements,
    common.enclave.trust_settings,
    common.enclave.roles,
    services.attestation.records,
    client.context,
    client.ending_proof,
    client.witness_memory,
    client.tpm.carrier,
)
CLASSES: Final[dict[str, type[Message]]] = {
    name: kind
    for module in _MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message and name[0] != "_"
}
"""Every message that the document describes, by name."""

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "formats.md"
_MARKED = re.compile(r"<!-- messages: (?P<names>[\w ,]+) -->\n.*?<!-- end -->", re.DOTALL)
_NAMES: Final = {"Digest": "digest", "PartyKey": "key", "MrEnclave": "digest", "HexBytes48": "hex 96",
                 "CodeMeasurement": "measurement", "Fmspc": "hex 12", "PlatformId": "hex 32",
                 "ChipId": "hex 16 or 128", "HexBytes32": "hex 64",
                 "RoleName": "role", "ProfileName": "profile name",
                 "PathPattern": "path pattern"}  # fmt: skip
_ALIASES: Final = {
    "int 0…2^48": "count",
    "int 0…2^40": "seconds",
    "simulation \\| tpm-ima \\| sgx \\| tdx \\| sev-snp": "trust level",
    "TrustLevel": "trust level",
    "TcbStatus": "TCB status",
    "bool \\| uint8 \\| int8 \\| int16 \\| int32 \\| int64 \\| float32 \\| float64": "dtype",
    "`sgx-dcap` or `tdx-dcap` or `dcap-quote`": "evidence",
    "`sgx` or `sgx-signer` or `tdx`": "reference value",
    "bytes 1216": "HPKE key",
    "text `^[A-Za-z_][A-Za-z0-9_.]{0,127}$`": "name",
}
"""Names that section 4 of the document explains."""

_PLAIN: Final = {int: "int", float: "float", str: "text", bool: "bool", bytes: "bytes", NoneType: "null"}


def with_tables(document: str) -> str:
    """The document with each marked table made anew."""

    def table(match: re.Match[str]) -> str:
        rows = (_row(CLASSES[name.strip()]) for name in match["names"].split(","))
        body = "\n".join(("| message | fields, in order |", "|---|---|", *rows))
        return f"<!-- messages: {match['names']} -->\n{body}\n<!-- end -->"

    return _MARKED.sub(table, document)


def marked_names(document: str) -> list[str]:
    """The classes that have a table."""
    return [name.strip() for match in _MARKED.finditer(document) for name in match["names"].split(",")]


def _row(kind: type[Message]) -> str:
    fields = dict(kind.model_fields)
    named = fields.pop("type", None)
    version = fields.pop("version", None)
    title = f"`{named.default}`" if named else kind.__name__
    title += f" v{version.default}" if version else ""
    return f"| {title} | {'; '.join(_field(name, one) for name, one in fields.items()) or 'none'} |"


def _field(name: str, one: Any) -> str:
    shown = f"{name}: {_type(one.annotation, tuple(one.metadata))}"
    if one.default is PydanticUndefined:
        return shown
    return f"{shown} = {_default(one.default)}"


def _default(value: object) -> str:
    if value is None:
        return "null"
    if value == b"":
        return "empty"
    if isinstance(value, Message):
        return "its defaults"
    if isinstance(value, Identifier) and set(value) == {"0"}:
        return "zeros"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def _type(annotation: Any, bounds: tuple[Any, ...] = ()) -> str:
    text = _spelled(annotation, bounds)
    return _ALIASES.get(text, text)


def _spelled(annotation: Any, bounds: tuple[Any, ...]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], (*arguments[1:], *bounds))
    if origin in (UnionType, Union):
        present = [one for one in arguments if one is not NoneType]
        text = " or ".join(_type(one, bounds) for one in present)
        text = "one of the bodies below" if len(present) > 7 else _ALIASES.get(text, text)
        return text + ("?" if NoneType in arguments else "")
    if origin is Literal:
        return " \\| ".join(map(str, arguments))
    if origin is tuple:
        if len({*arguments, Ellipsis}) > 2:
            return f"[{', '.join(map(_type, arguments))}]"
        size = _range(bounds) if arguments[-1] is Ellipsis else str(len(arguments))
        return f"[{_type(arguments[0])}]{size and ' ' + size}"
    if origin is dict:
        size = _range(bounds)
        return f"{{{_type(arguments[0])}: {_type(arguments[1])}}}{size and ' ' + size}"
    return _scalar(annotation, bounds)


def _scalar(kind: type, bounds: tuple[Any, ...]) -> str:
    if kind in _PLAIN:
        size = _range(bounds)
        return _PLAIN[kind] + (size and f" {size}")
    if issubclass(kind, StrEnum):
        return kind.__name__
    if issubclass(kind, Identifier):
        return _NAMES.get(kind.__name__, f"{getattr(kind, 'prefix', '')}_…")
    if issubclass(kind, Message):
        return f"`{kind.model_fields['type'].default}`" if "type" in kind.model_fields else kind.__name__
    raise TypeError(kind)


def _range(bounds: tuple[Any, ...]) -> str:
    low, high, pattern = "", "", ""
    for one in _flat(bounds):
        if isinstance(one, annotated_types.Ge | annotated_types.MinLen):
            low = _number(getattr(one, "ge", None) if isinstance(one, annotated_types.Ge) else one.min_length)
        elif isinstance(one, annotated_types.Gt):
            low = f">{_number(one.gt)}"
        elif isinstance(one, annotated_types.Le | annotated_types.MaxLen):
            high = _number(getattr(one, "le", None) if isinstance(one, annotated_types.Le) else one.max_length)
        elif isinstance(one, annotated_types.Lt):
            high = f"<{_number(one.lt)}"
        elif pattern_of := getattr(one, "pattern", None):
            pattern = f"`{pattern_of}`".replace("|", "\\|")
    if low and low == high:
        return low
    return " ".join(part for part in (f"{low}…{high}" if low or high else "", pattern) if part)


def _flat(bounds: tuple[Any, ...]) -> Iterator[Any]:
    for one in bounds:
        if hasattr(one, "metadata"):  # a pydantic Field
            yield from one.metadata
        else:
            yield one


def _number(value: Any) -> str:
    if isinstance(value, int) and value >= 4096 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return str(value)


def main() -> None:
    """Write the tables."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
    sys.stdout.write(f"{len(marked_names(DOCUMENT.read_text()))} messages\n")


if __name__ == "__main__":
    main()
