"""A component's sections, read before wasmtime sees it (side: library).

Compiling can't be interrupted, so what bounds its time is bounded here: bytes, functions, the largest function. Refused
as well is what no design needs and what a compiler would have to work at: imports, nested components that do more than
rename, more than one memory a module. Only lengths are followed; wasmtime validates what stands in them.

Layout: WebAssembly core specification 2.0, section 5.5; component model, design/mvp/Binary.md. A section is its number
(1 byte), its length (unsigned LEB128), its content.
"""

from dataclasses import dataclass
from typing import Final

MAX_COMPONENT_BYTES: Final = 28 << 20
"""componentize-py 0.25 makes 18.5 MB."""

MAX_FUNCTIONS: Final = 20_000
"""All modules together; CPython has 13,300."""

MAX_CODE_BYTES: Final = 10 << 20
"""All function bodies together; CPython has 6.6 MB."""

MAX_FUNCTION_BYTES: Final = 512 << 10
"""CPython's interpreter loop has 427 KB."""

MAX_SECTIONS: Final = 2_000

_MODULE: Final = b"\0asm\x01\0\0\0"
_COMPONENT: Final = b"\0asm\x0d\0\x01\0"
_CODE: Final = 10
_CUSTOM, _CORE_MODULE, _CORE_INSTANCE, _CORE_TYPE, _NESTED, _INSTANCE, _ALIAS, _TYPE, _CANON, _IMPORT, _EXPORT = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11,
)  # fmt: skip
_OUTER: Final = {_CUSTOM, _CORE_MODULE, _CORE_INSTANCE, _CORE_TYPE, _NESTED, _INSTANCE, _ALIAS, _TYPE, _CANON, _EXPORT}
_INNER: Final = {_CUSTOM, _ALIAS, _TYPE, _IMPORT, _EXPORT}
"""Of a nested component: it imports what the outer one gives it, and exports that under a name. It has no code, so two
components never call each other, which would make wasmtime compile adapters of a size that bytes don't bound."""


class OutlineError(ValueError):
    """What the component has that a design has not; the text quotes numbers and names of ours alone."""


@dataclass
class Outline:
    """Counts over all modules of a component."""

    modules: int = 0
    functions: int = 0
    code_bytes: int = 0
    largest_function: int = 0
    sections: int = 0


def read_outline(component: bytes) -> Outline:
    """The outline of a component within bounds. Raises `OutlineError`."""
    if len(component) > MAX_COMPONENT_BYTES:
        raise OutlineError(f"at most {MAX_COMPONENT_BYTES} bytes are allowed, not {len(component)}")
    if component[:8] == _MODULE:
        raise OutlineError("a component is wanted, not a core module (`wasm-tools component new` makes one of it)")
    outline = Outline()
    try:
        _read_component(component, 0, len(component), outline, _OUTER)
    except IndexError:
        raise OutlineError("a section is cut off") from None
    return outline


def _read_component(raw: bytes, begin: int, end: int, outline: Outline, allowed: set[int]) -> None:
    if raw[begin : begin + 8] != _COMPONENT:
        raise OutlineError("a WebAssembly component is wanted")
    for kind, at, after in _sections(raw, begin + 8, end, outline):
        if kind == _IMPORT and _IMPORT not in allowed:
            raise OutlineError("a design imports nothing (build it with stubs for WASI)")
        if kind not in allowed:
            raise OutlineError(f"a section of kind {kind} is not part of a design")
        if kind == _CORE_MODULE:
            _read_module(raw, at, after, outline)
        elif kind == _NESTED:
            _read_component(raw, at, after, outline, _INNER)


def _read_module(raw: bytes, begin: int, end: int, outline: Outline) -> None:
    if raw[begin : begin + 8] != _MODULE:
        raise OutlineError("a core module of version 1 is wanted")
    outline.modules += 1
    for kind, at, after in _sections(raw, begin + 8, end, outline):
        if kind == _CODE:
            _read_code(raw, at, after, outline)


def _read_code(raw: bytes, begin: int, end: int, outline: Outline) -> None:
    count, at = _number(raw, begin)
    outline.functions += count
    if outline.functions > MAX_FUNCTIONS:
        raise OutlineError(f"at most {MAX_FUNCTIONS} functions are allowed, not {outline.functions}")
    for _ in range(count):
        length, at = _number(raw, at)
        at += length
        outline.code_bytes += length
        outline.largest_function = max(outline.largest_function, length)
        if at > end:
            raise OutlineError("a function is cut off")
    if outline.code_bytes > MAX_CODE_BYTES or outline.largest_function > MAX_FUNCTION_BYTES:
        raise OutlineError(
            f"at most {MAX_CODE_BYTES} bytes of code are allowed, {MAX_FUNCTION_BYTES} in one function, "
            f"not {outline.code_bytes} and {outline.largest_function}"
        )


def _sections(raw: bytes, at: int, end: int, outline: Outline) -> list[tuple[int, int, int]]:
    """(kind, begin, end) of each section."""
    found = []
    while at < end:
        length, begin = _number(raw, at + 1)
        outline.sections += 1
        if begin + length > end:
            raise OutlineError("a section is cut off")
        if outline.sections > MAX_SECTIONS:
            raise OutlineError(f"at most {MAX_SECTIONS} sections are allowed")
        found.append((raw[at], begin, begin + length))
        at = begin + length
    return found


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 of at most five bytes, and where it ends."""
    value = 0
    for place in range(5):
        byte = raw[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise OutlineError("a length has at most five bytes")
