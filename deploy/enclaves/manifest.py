"""What a Gramine manifest of ours may say (side: host).

A narrow part of Gramine 1.9's syntax (gramine.readthedocs.io/en/v1.9/manifest-syntax.html), read without Gramine: what
we do not use is refused like what does not exist. In this order; each check raises `FormatError` (format.manifest):

  (1) it is TOML;
  (2) nothing in it has `insecure__`, `debug__` or `experimental__` in its name, unless it is switched off;
  (3) no debug enclave, no file that is allowed unhashed, no log beyond errors, no variable of the host's environment;
  (4) every key is one of this schema, of the right type;
  (5) each trusted file is named once, with its hash, in order, and lies below the enclave's own root;
  (6) folders of the enclave are its root and `tmpfs`: what has to last leaves through the door, sealed.

Not checked: that files have those hashes (Gramine checks it at each opening), and that sizes are enough.
"""

import tomllib
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.errors import FormatError

ROOT_URI: Final = "file:root"
"""Where the tree lies that an enclave sees as `/`, from the folder that its manifest lies in."""

_CODE: Final = "format.manifest"
_UNSAFE: Final = ("insecure__", "debug__", "experimental__")

_Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[KMG]$")]
_Path = Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=512)]
_Uri = Annotated[str, Field(pattern=r"^file:[^\x00]+$", max_length=520)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_OptionalFeature = Literal["unspecified", "disabled", "required"]
_HardeningFeature = Literal["disabled", "required"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class HashedFile(_Table):
    """A file and its SHA-256."""

    uri: _Uri
    sha256: _Sha256


class Loader(_Table):
    """`entrypoint` is Gramine's own library OS, which `gramine-manifest` adds."""

    log_level: Literal["none", "error"]
    argv: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    env: dict[str, str]
    entrypoint: HashedFile | None = None


class LibOs(_Table):
    """The program, a path inside."""

    entrypoint: _Path


class Root(_Table):
    """The tree that the enclave sees."""

    type: Literal["chroot"]
    uri: Literal["file:root"]


class Mount(_Table):
    """A folder in the enclave's own memory, empty at each start."""

    type: Literal["tmpfs"]
    path: _Path


class FileSystem(_Table):
    """All folders."""

    root: Root
    mounts: Annotated[tuple[Mount, ...], Field(strict=False)]
    start_dir: _Path


class Size(_Table):
    """Of each thread's stack."""

    size: _Size


class BreakSize(_Table):
    """Of the heap that `brk` makes."""

    max_size: _Size


class Descriptors(_Table):
    """Most descriptors of a process."""

    limit: Annotated[int, Field(ge=16, le=65_536)]


class System(_Table):
    """What the library OS does. An enclave starts no process: each would be an enclave of its own."""

    stack: Size
    brk: BreakSize
    fds: Descriptors | None = None
    disallow_subprocesses: Literal[True]


class CpuFeatures(_Table):
    """Processor features in ATTRIBUTES.XFRM."""

    avx: _OptionalFeature = "unspecified"
    avx512: _OptionalFeature = "unspecified"
    amx: _OptionalFeature = "unspecified"
    mpx: _HardeningFeature = "disabled"
    pkru: _HardeningFeature = "disabled"


class Sgx(_Table):
    """What ends up in SIGSTRUCT and in the measurement."""

    remote_attestation: Literal["dcap"]
    enclave_size: _Size
    max_threads: Annotated[int, Field(ge=4, le=1024)]
    isvprodid: Annotated[int, Field(ge=0, le=0xFFFF)]
    isvsvn: Annotated[int, Field(ge=0, le=0xFFFF)]
    trusted_files: Annotated[tuple[HashedFile, ...], Field(min_length=1, strict=False)]
    debug: Literal[False] = False
    edmm_enable: bool = False
    enable_stats: Literal[False] = False
    use_exinfo: bool = False
    cpu_features: CpuFeatures = CpuFeatures()

    @model_validator(mode="after")
    def _require_power_of_two(self) -> "Sgx":
        number, unit = int(self.enclave_size[:-1]), self.enclave_size[-1]
        bytes_ = number << {"K": 10, "M": 20, "G": 30}[unit]
        if bytes_ & (bytes_ - 1):
            raise ValueError("sgx.enclave_size is a power of two (SGX's ECREATE)")
        return self


class Manifest(_Table):
    """A manifest."""

    loader: Loader
    libos: LibOs
    fs: FileSystem
    sys: System
    sgx: Sgx


def parse_manifest(raw: bytes) -> Manifest:
    """Checks (1) to (6). Raises `FormatError` (format.manifest)."""
    try:
        document = tomllib.loads(raw.decode())
    except ValueError as cause:
        raise FormatError(_CODE, expected="TOML", seen=cause) from cause  # (1)
    for key, value in _keys(document):
        if any(part in key for part in _UNSAFE) and value not in (False, None):
            raise FormatError(_CODE, expected="nothing insecure", seen=key)  # (2)
    _require_production(document)  # (3)
    try:
        manifest = Manifest.model_validate(_without_switched_off(document))  # (4), (6)
    except ValidationError as cause:
        first = cause.errors(include_input=False, include_url=False)[0]
        seen = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise FormatError(_CODE, expected="a key and value of deploy/enclaves/manifest.py", seen=seen) from cause
    _require_exact_files(manifest.sgx.trusted_files)  # (5)
    return manifest


def _require_production(document: dict[str, Any]) -> None:
    sgx, loader = document.get("sgx", {}), document.get("loader", {})
    if sgx.get("debug"):
        raise FormatError(_CODE, expected="no debug enclave: its host reads its memory", seen="sgx.debug")
    if sgx.get("allowed_files"):
        raise FormatError(_CODE, expected="trusted files alone", seen="sgx.allowed_files")
    if sgx.get("file_check_policy", "strict") != "strict":
        raise FormatError(_CODE, expected="strict", seen="sgx.file_check_policy")
    if loader.get("log_level") not in {"none", "error"}:
        raise FormatError(_CODE, expected="loader.log_level error: more of it leaks", seen=loader.get("log_level"))
    for name, value in loader.get("env", {}).items():
        if not isinstance(value, str):
            raise FormatError(_CODE, expected="a value for every variable", seen=f"loader.env.{name}")


def _require_exact_files(files: tuple[HashedFile, ...]) -> None:
    uris = [file.uri for file in files]
    if uris != sorted(set(uris)):
        raise FormatError(_CODE, expected="trusted files in order, each once")
    for uri in uris:
        if not uri.startswith(f"{ROOT_URI}/") or uri.endswith("/") or ".." in uri.split("/"):
            raise FormatError(_CODE, expected=f"files below {ROOT_URI}", seen=uri)


def _keys(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        yield f"{above}{key}", value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _keys(one, f"{above}{key}.")


def _without_switched_off(table: dict[str, Any]) -> dict[str, Any]:
    """Without what is unsafe and says `false`, which is the same as not to be there."""
    return {
        key: _without_switched_off(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if not any(part in key for part in _UNSAFE)
    }
