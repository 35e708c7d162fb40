"""Bundles that are not what they say: bytes for the parser, none of which it may take (side: library).

Changes of one good bundle's JSON. A bundle is a message, not an archive: there are no links, modes or owners in it, and
what an archive would smuggle in has to come as a path or as a size.
"""

import base64
import gzip
import io
import json
import pickle  # noqa: TID251 - the attack
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any, Final

from common.bundle import MAX_BUNDLE_BYTES, MAX_CONTENT_BYTES, MAX_FILES

Change = Callable[[dict[str, Any]], None]


def _with_path(path: str) -> Change:
    return lambda bundle: bundle["files"].__setitem__(path, base64.b64encode(b"x").decode())


def _with_manifest(**fields: Any) -> Change:
    return lambda bundle: bundle["manifest"].update(fields)


def _changed(change: Change) -> Callable[[bytes], bytes]:
    def apply(good: bytes) -> bytes:
        bundle = json.loads(good)
        change(bundle)
        return json.dumps(bundle).encode()

    return apply


def _archive(good: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def _zip_bomb(good: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(MAX_BUNDLE_BYTES))
    return buffer.getvalue()


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('a pickle ran')",)


def _huge_layout(bundle: dict[str, Any]) -> None:
    bundle["manifest"]["layout"] = [{"name": f"t{n}", "shape": [1 << 20]} for n in range(1 << 9)]


def _many_files(bundle: dict[str, Any]) -> None:
    for number in range(MAX_FILES):
        _with_path(f"f{number}")(bundle)


def _too_large(bundle: dict[str, Any]) -> None:
    bundle["files"]["large"] = base64.b64encode(bytes(MAX_CONTENT_BYTES)).decode()


def _file_and_folder(bundle: dict[str, Any]) -> None:
    _with_path("both")(bundle)
    _with_path("both/file")(bundle)


BUNDLES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "path_climbs": _changed(_with_path("../outside.py")),
    "path_climbs_inside": _changed(_with_path("a/../../outside.py")),
    "path_absolute": _changed(_with_path("/code/common/__init__.py")),
    "path_hidden": _changed(_with_path(".startup.py")),
    "path_with_zero": _changed(_with_path("a\0b")),
    "path_with_backslash": _changed(_with_path("..\\outside.py")),
    "path_empty": _changed(_with_path("")),
    "path_long": _changed(_with_path("a/" * 120 + "b")),
    "file_and_folder": _changed(_file_and_folder),
    "too_many_files": _changed(_many_files),
    "too_large": _changed(_too_large),
    "entry_runs_code": _changed(_with_manifest(entry="os:system('id')")),
    "state_too_large": _changed(_huge_layout),
    "state_empty": _changed(_with_manifest(layout=[{"name": "t", "shape": [0]}])),
    "state_negative": _changed(_with_manifest(layout=[{"name": "t", "shape": [-4]}])),
    "state_twice": _changed(_with_manifest(layout=[{"name": "t", "shape": [1]}] * 2)),
    "answer_too_large": _changed(_with_manifest(answer={"shape": [1 << 24, 64], "dtype": "float32"})),
    "answer_of_objects": _changed(_with_manifest(answer={"shape": [1], "dtype": "object"})),
    "unknown_field": _changed(_with_manifest(run_before="setup.py")),
    "archive_with_link": _archive,
    "zip_bomb": _zip_bomb,
    "gzip_bomb": lambda _: gzip.compress(bytes(MAX_BUNDLE_BYTES)),
    "pickle": lambda _: pickle.dumps(_Runs()),
    "trailing_bytes": lambda good: good + b"{}",
    "too_long": lambda good: good + b" " * MAX_BUNDLE_BYTES,
}
