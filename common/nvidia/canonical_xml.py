"""The XML that reference values are signed in, and its one canonical form (side: verifier).

Canonical XML 1.1 (https://www.w3.org/TR/xml-c14n11/), inclusive and without comments, of documents so plain that its
hard parts don't arise: no document type and hence no entities, no processing instructions, comments, CDATA or `xml:`
attributes, no namespace undone, UTF-8. Whatever else a document holds is refused before anything is made of it. For
such documents Canonical XML 1.0 gives the same bytes. Python's own `canonicalize` writes Canonical XML 2.0, which
leaves out namespaces that are in nobody's name, and so gives other bytes than were signed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NoReturn
from xml.parsers import expat

from common.errors import FormatError

MAX_DOCUMENT_BYTES: Final = 128 << 10
"""Those in use have about 25 KB."""

_MAX_DEPTH: Final = 16
_MAX_ELEMENTS: Final = 4096
_MAX_PREFIXES: Final = 16
"""Bounds on what is written anew for each element."""

_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_VALUE: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)  # fmt: skip
"""Section 2.3: how text and the values of attributes are written."""


@dataclass(slots=True)
class Element:
    """An element: its name as written, all prefixes in scope (the empty one is the default), attributes by full name.

    A full name is (namespace, local name); `attributes` keeps beside the value how the name is written.
    """

    written: str
    scope: Mapping[str, str]
    attributes: Mapping[tuple[str, str], tuple[str, str]]
    children: list["Element | str"] = field(default_factory=list)

    @property
    def name(self) -> tuple[str, str]:
        """Namespace and local name."""
        prefix, _, local = self.written.rpartition(":")
        return self.scope[prefix] if prefix else self.scope.get("", ""), local

    @property
    def elements(self) -> list["Element"]:
        """The elements in it, where nothing but white space may stand between them. Raises `FormatError`."""
        if any(isinstance(child, str) and child.strip(" \t\n") for child in self.children):
            raise _wrong("elements and white space", self.written)
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        """The text in it, where there is nothing else. Raises `FormatError`."""
        if any(isinstance(child, Element) for child in self.children):
            raise _wrong("text", self.written)
        return "".join(child for child in self.children if isinstance(child, str))

    def attribute(self, local: str, namespace: str = "") -> str:
        """The value of an attribute. Raises `FormatError` where there is none."""
        try:
            return self.attributes[namespace, local][1]
        except KeyError:
            raise _wrong(f"an attribute {local}", self.written) from None


def canonicalize(element: Element, *, without: Element | None = None) -> bytes:
    """The canonical form of an element with all in it, but for one that is left out (an enveloped signature)."""
    return "".join(_written(element, MappingProxyType({}), without)).encode()


def parse_xml(raw: bytes) -> Element:
    """The root element. Raises `FormatError` (format.rim) for what is no such plain document."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _wrong(f"at most {MAX_DOCUMENT_BYTES} bytes", len(raw))
    builder = _Builder()
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = builder.refuse
    parser.CommentHandler = parser.StartCdataSectionHandler = builder.refuse
    parser.XmlDeclHandler = builder.declaration
    try:
        text = raw.decode()
        if not text.startswith("<") or "\0" in text:  # else expat might take it for UTF-16, whatever it was told
            raise _wrong("UTF-8 without a mark before it", raw[:4].hex())
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError) as cause:
        raise _wrong("well-formed XML", cause) from None
    return builder.root()


class _Builder:
    """Makes elements of what the parser meets."""

    def __init__(self) -> None:
        self._top = Element("", MappingProxyType({}), MappingProxyType({}))
        self._open = [self._top]
        self._count = 0

    def root(self) -> Element:
        return self._top.elements[0]

    def start(self, written: str, pairs: list[str]) -> None:
        self._count += 1
        if len(self._open) > _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            raise _wrong(f"{_MAX_ELEMENTS} elements, {_MAX_DEPTH} deep", written)
        given = dict(zip(pairs[::2], pairs[1::2], strict=True))
        declared = {name: value for name, value in given.items() if name == "xmlns" or name.startswith("xmlns:")}
        scope = self._open[-1].scope
        if declared:
            scope = MappingProxyType({**scope, **dict(_declaration(*one) for one in declared.items())})
        own = {name: value for name, value in given.items() if name not in declared}
        attributes = {_full_name(name, scope): (name, value) for name, value in own.items()}
        if len(attributes) != len(own) or len(scope) > _MAX_PREFIXES:
            raise _wrong(f"attributes of different names, {_MAX_PREFIXES} prefixes", written)
        _full_name(written, scope)
        element = Element(written, scope, MappingProxyType(attributes))
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, _written: str) -> None:
        self._open.pop()

    def text(self, text: str) -> None:
        self._open[-1].children.append(text)

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding not in (None, "UTF-8", "utf-8"):
            self.refuse(encoding)

    def refuse(self, *seen: object) -> NoReturn:
        raise _wrong("elements, attributes and text alone", seen[:1])


def _declaration(name: str, namespace: str) -> tuple[str, str]:
    _, colon, prefix = name.partition(":")
    if not namespace or (colon and not prefix) or prefix.lower().startswith("xml") or ":" in prefix:
        raise _wrong("namespaces that are declared and not undone", name)
    return prefix, namespace


def _full_name(written: str, scope: Mapping[str, str]) -> tuple[str, str]:
    """Namespace and local name of an attribute; of an element the same but for the default namespace."""
    prefix, colon, local = written.rpartition(":")
    if (colon and prefix not in scope) or not local or (colon and not prefix):
        raise _wrong("names in namespaces that are declared", written)
    return scope[prefix] if prefix else "", local


def _written(element: Element, outer: Mapping[str, str], without: Element | None) -> Iterator[str]:
    """Section 2.3: namespaces that are new here, by prefix; then attributes by namespace and name."""
    yield f"<{element.written}"
    for prefix, namespace in sorted(element.scope.items()):
        if outer.get(prefix) != namespace:
            yield f' xmlns{":" if prefix else ""}{prefix}="{namespace.translate(_VALUE)}"'
    for _, (written, value) in sorted(element.attributes.items()):
        yield f' {written}="{value.translate(_VALUE)}"'
    yield ">"
    for child in element.children:
        if isinstance(child, str):
            yield child.translate(_TEXT)
        elif child is not without:
            yield from _written(child, element.scope, without)
    yield f"</{element.written}>"


def _wrong(expected: str, seen: object) -> FormatError:
    return FormatError("format.rim", expected=f"a plain XML document: {expected}", seen=seen)
