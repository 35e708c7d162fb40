"""What Linux measured of the files that it ran: IMA's list, entry by entry (side: verifier).

Source: Linux, Documentation/security/IMA-templates.rst; security/integrity/ima/ima_fs.c (how lists are shown),
ima_template_lib.c (fields), ima_crypto.c (what is hashed). Two forms of the same list:

  text    register, template hash in hex, template, then its fields, each behind one blank
  binary  register 4 | template hash 20 (SHA-1) | template's name, sized 4 | data, sized 4, of fields, sized 4 each;
          all little-endian; the template `ima` has no size of its data, and its digest none

  ima      digest 20 (SHA-1), path                  data: digest, path filled up with zeros to 256 bytes
  ima-ng   algorithm:digest, path                   data: fields behind their sizes 4: "algorithm:" NUL digest, path NUL
  ima-sig  the same, signature or nothing           likewise

Other templates, other algorithms, and a template hash that is not the data's are refused. An entry whose template hash
is all zeros is a violation: a file was open for writing while it was measured, or the other way round (ToMToU, "time of
measure, time of use"). It has no digest, and a register is extended by ones for it, whatever path is shown.

Entries are read one by one and no further than they are asked for. Blanks in paths are underscores already (Linux).
"""

import struct
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha1, sha256
from itertools import repeat
from typing import Final, NamedTuple

from common.errors import FormatError
from common.tpm_ima.cursor import Cursor

MAX_LIST_BYTES: Final = 64 << 20
DIGEST_BYTES: Final = {b"sha1": 20, b"sha256": 32, b"sha384": 48, b"sha512": 64}
"""Algorithms of file digests that we know; which are good enough, a profile's files say."""

_REGISTER: Final = 10
_SIZE: Final = struct.Struct("<I")
_TEMPLATES: Final = (b"ima", b"ima-ng", b"ima-sig")
_VIOLATION: Final = bytes([0xFF]) * 32
_BLOCK_BYTES: Final = 1 << 15
"""How much of a text is looked at together: a quote may end a list early, and one line may be unlike the others."""

_USUAL_FIELD: Final = _SIZE.pack(8 + 32) + b"sha256:\0"
_OLD_NAME_BYTES: Final = 256
_MOST_PATH: Final = 4096
_MOST_SIGNATURE: Final = 2048


class Measured(NamedTuple):
    """One entry. `extends` is what extends register 10; `claim` is b"algorithm:hex path", as profiles list it."""

    extends: bytes
    claim: bytes
    signature: bytes = b""

    @property
    def path(self) -> bytes:
        """Which file it was; of a violation, what the host says, and the register doesn't hold it to that."""
        return self.claim.split(b" ", 1)[1]

    @property
    def is_violation(self) -> bool:
        """Whether it was written while it ran; the digest of its claim is zeros then, as no file's is."""
        return self.extends == _VIOLATION


_entry: Final = partial(tuple.__new__, Measured)
"""Makes one in half the time, of all its fields."""


def read_list(raw: bytes) -> Iterator[Measured]:
    """The entries of a list in either form. Raises `FormatError` (format.host_evidence) where one is wrong."""
    if len(raw) > MAX_LIST_BYTES:
        raise FormatError("format.host_evidence", expected=f"a list of at most {MAX_LIST_BYTES} bytes", seen=len(raw))
    return _read_text(raw) if raw.startswith(b"10 ") else _read_binary(raw)


def ng_data(algorithm: bytes, digest: bytes, path: bytes) -> bytes:
    """Template data of `ima-ng`."""
    field = algorithm + b":\0" + digest
    return _SIZE.pack(len(field)) + field + _SIZE.pack(len(path) + 1) + path + b"\0"


def _read_text(raw: bytes) -> Iterator[Measured]:
    at = 0
    while at < len(raw):
        end = raw.find(b"\n", at + _BLOCK_BYTES) + 1 or raw.rfind(b"\n", at) + 1
        if not end:
            raise _wrong("a list that ends with a line")
        block = raw[at : end - 1]
        lines = block.split(b"\n")
        yield from _read_usual(lines) if _are_usual(block, lines) else map(_line, lines)
        at = end


def _are_usual(block: bytes, lines: list[bytes]) -> bool:
    """Whether all of these look as nearly every line does: `ima-ng` by SHA-256, shown by SHA-1; digits not looked at.

    "10 ", 40 digits, " ima-ng sha256:", 64 digits, blank, path: four blanks in each, all of them at their places.
    """
    sizes = [len(line) for line in lines]
    return (
        min(sizes) > 123
        and max(sizes) <= 123 + _MOST_PATH
        and block.startswith(b"10 ")
        and block.count(b"\n10 ") == len(lines) - 1
        and {line[43:58] for line in lines} == {b" ima-ng sha256:"}
        and {line[122] for line in lines} == {ord(" ")}
        and block.count(b" ") == 4 * len(lines)
        and b"\0" not in block
    )


def _read_usual(lines: list[bytes]) -> Iterable[Measured]:
    """What `_line` reads of these, in half the time: each step is done for all of them."""
    named, shown = b"".join([line[58:122] for line in lines]), b"".join([line[3:43] for line in lines])
    try:
        digests, hashes = unhexlify(named), unhexlify(shown)
    except ValueError:
        return map(_line, lines)
    if digests.hex().encode() != named or hashes.hex().encode() != shown:
        return map(_line, lines)
    each = [digests[at : at + 32] for at in range(0, len(digests), 32)]
    data = [
        _USUAL_FIELD + digest + _SIZE.pack(len(line) - 122) + line[123:] + b"\0"
        for digest, line in zip(each, lines, strict=True)
    ]
    if b"".join([sha1(one, usedforsecurity=False).digest() for one in data]) != hashes:
        return map(_line, lines)
    extends, claims = [sha256(one).digest() for one in data], [line[51:] for line in lines]
    return map(_entry, zip(extends, claims, repeat(b""), strict=False))


def _line(line: bytes) -> Measured:
    """Any line of a list."""
    if line.count(b" ") < 4:
        raise _wrong("register 10, template hash, and a template's fields", line)
    register, shown, template, named, path, *rest = line.split(b" ")
    if register != b"10" or len(rest) != (template == b"ima-sig"):
        raise _wrong("register 10, template hash, and a template's fields", line)
    if template == b"ima":
        algorithm, digits = b"sha1", named
    else:
        algorithm, _, digits = named.partition(b":")
    signature = _hex(rest[0]) if rest else b""
    return _measured(template, _hex(shown), algorithm, _hex(digits), path, signature)


def _read_binary(raw: bytes) -> Iterator[Measured]:
    cursor = Cursor(raw, "little")
    while not cursor.is_at_end:
        if cursor.integer(4) != _REGISTER:
            raise _wrong("entries of register 10")
        shown, template = cursor.take(20), cursor.sized(4, 16)
        if template == b"ima":
            digest, path = cursor.take(20), cursor.sized(4, _OLD_NAME_BYTES - 1)
            yield _measured(template, shown, b"sha1", digest, path, b"")
            continue
        fields = Cursor(cursor.sized(4, _MOST_PATH + _MOST_SIGNATURE + 128), "little")
        algorithm, between, digest = fields.sized(4, 128).partition(b":\0")
        path = fields.sized(4, _MOST_PATH + 1)
        signature = fields.sized(4, _MOST_SIGNATURE) if template == b"ima-sig" else b""
        fields.require_end()
        if not between or path[-1:] != b"\0":
            raise _wrong("an algorithm with its digest, and a path with its end")
        yield _measured(template, shown, algorithm, digest, path[:-1], signature)


def _measured(
    template: bytes, shown: bytes, algorithm: bytes, digest: bytes, path: bytes, signature: bytes
) -> Measured:
    """The entry, if its template hash is that of its data."""
    if template not in _TEMPLATES or DIGEST_BYTES.get(algorithm) != len(digest):
        raise _wrong("a template and an algorithm that are known", template + b" " + algorithm)
    if not path or len(path) > _MOST_PATH or b"\0" in path or len(signature) > _MOST_SIGNATURE:
        raise _wrong("a path and a signature of possible sizes")
    claim = b"%b:%b %b" % (algorithm, digest.hex().encode(), path)
    if not any(shown):
        if len(shown) not in (20, 32) or any(digest) or signature:
            raise _wrong("no digest in a violation", path)
        return Measured(_VIOLATION, claim)
    if template == b"ima":
        if len(path) >= _OLD_NAME_BYTES:
            raise _wrong("a path of at most 255 bytes")
        data = digest + path.ljust(_OLD_NAME_BYTES, b"\0")
    else:
        data = ng_data(algorithm, digest, path)
        if template == b"ima-sig":
            data += _SIZE.pack(len(signature)) + signature
    extends = sha256(data).digest()
    if shown != (extends if len(shown) == 32 else sha1(data, usedforsecurity=False).digest()):
        raise _wrong("the template hash of the entry's data", path)
    return Measured(extends, claim, signature)


def _hex(digits: bytes) -> bytes:
    """Bytes from lower-case digits, in their one spelling."""
    try:
        raw = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise _wrong("digits", digits) from None
    if raw.hex().encode() != digits:
        raise _wrong("lower-case digits", digits)
    return raw


def _wrong(expected: str, seen: bytes | None = None) -> FormatError:
    words = None if seen is None else seen[:200].decode("ascii", "replace")
    return FormatError("format.host_evidence", expected=f"IMA list: {expected}", seen=words)
