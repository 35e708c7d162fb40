"""What a device says of itself beside its measurements: NVIDIA's fields, by type (side: verifier).

Source: NVIDIA attestation SDK, gpu_opaque_data_parser.hpp, switch_opaque_data_parser.hpp (types), gpu/evidence.cpp and
switch/evidence.cpp (what they mean). A type that is not in there, or a newer version of the whole, is refused: nobody
here knows what it would mean. All of it is as authentic as the report's signature.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from common.errors import FormatError
from common.messages.gpu_terms import DRIVER_VERSION, VBIOS_VERSION

Mode = Literal["multi-gpu", "single-gpu", "protected-pcie"]
"""How a GPU protects its memory and links, by the feature flag: 0 MPT, 1 SPT, 2 PPCIE (OpaqueDataFeatureFlag)."""

_DRIVER_VERSION: Final = 3
_VBIOS_VERSION: Final = 6
_NVDEC0_STATUS: Final = 11
_CHIP_SKU: Final = 15
_PROJECT: Final = 17
_PROJECT_SKU: Final = 18
_FWID: Final = 20
_PROTECTED_PCIE: Final = 21
_PDI: Final = 22
_SWITCH_GPU_PDIS: Final = 26
_OPAQUE_VERSION: Final = 34
_FEATURE_FLAG: Final = 36
_KNOWN_TYPES: Final = frozenset(range(1, 37))
_NEWEST_VERSION: Final = 1

_MODES: Final[dict[int, Mode]] = {0: "multi-gpu", 1: "single-gpu", 2: "protected-pcie"}
_STATED: Final = {b"\xaa": True, b"\x55": False}
"""How NVIDIA says yes and no in one byte."""

_PDI_BYTES: Final = 8
_SWITCH_GPUS: Final = 8
_NO_PDIS: Final = ("00" * _PDI_BYTES, "ff" * _PDI_BYTES)
"""Of a link that is not there."""


@dataclass(frozen=True, slots=True)
class GpuFields:
    """A GPU's fields. `mode` is None where its driver says none; `decoder` is whether NVDEC0 is on.

    `fwid` (48 bytes) is the firmware's digest, from drivers that tell it. `switches` are the switches it is linked to.
    """

    driver_version: str
    vbios_version: str
    board: str
    fwid: bytes | None
    mode: Mode | None
    decoder: bool
    switches: frozenset[str]


@dataclass(frozen=True, slots=True)
class SwitchFields:
    """A switch's fields: `pdi` is its name in the fabric, `gpus` are the GPUs that it links."""

    vbios_version: str
    fwid: bytes | None
    pdi: str
    gpus: frozenset[str]


def read_gpu_fields(opaque: Mapping[int, bytes]) -> GpuFields:
    """A GPU's fields. Raises `FormatError` (format.gpu_report)."""
    version = _version(opaque)
    decoder = opaque.get(_NVDEC0_STATUS, b"")
    if decoder not in _STATED:
        raise _wrong("NVDEC0 on or off", decoder.hex())
    return GpuFields(
        driver_version=_text(opaque, _DRIVER_VERSION, DRIVER_VERSION),
        vbios_version=_vbios_version(_field(opaque, _VBIOS_VERSION)),
        board="_".join(_text(opaque, kind, r"[0-9A-Z]{1,8}") for kind in (_PROJECT, _PROJECT_SKU, _CHIP_SKU)),
        fwid=opaque.get(_FWID),
        mode=_mode(opaque, version),
        decoder=_STATED[decoder],
        switches=_names(opaque.get(_PDI, b""), reverse=True),
    )


def read_switch_fields(opaque: Mapping[int, bytes]) -> SwitchFields:
    """A switch's fields. Raises `FormatError` (format.gpu_report)."""
    _version(opaque)
    linked = _field(opaque, _SWITCH_GPU_PDIS)[: _SWITCH_GPUS * _PDI_BYTES]  # behind them stand its ports
    pdi = _field(opaque, _PDI)
    if len(pdi) != _PDI_BYTES:
        raise _wrong(f"a name of {_PDI_BYTES} bytes", len(pdi))
    return SwitchFields(
        vbios_version=_text(opaque, _VBIOS_VERSION, VBIOS_VERSION),
        fwid=opaque.get(_FWID),
        pdi=pdi.hex(),
        gpus=_names(linked, reverse=False),
    )


def _version(opaque: Mapping[int, bytes]) -> int:
    version = int.from_bytes(opaque.get(_OPAQUE_VERSION, b""), "little")
    if version > _NEWEST_VERSION or not opaque.keys() <= _KNOWN_TYPES:
        raise _wrong(f"fields of version {_NEWEST_VERSION} at most, of known types", f"{version}, {sorted(opaque)}")
    return version


def _mode(opaque: Mapping[int, bytes], version: int) -> Mode | None:
    """By the feature flag; older drivers say only of protected PCIe, and whoever says both says the same."""
    protected = _STATED.get(opaque.get(_PROTECTED_PCIE, b""))
    if version == 0:
        return "protected-pcie" if protected else None
    flag = int.from_bytes(_field(opaque, _FEATURE_FLAG), "little")
    if flag not in _MODES or protected not in (None, _MODES[flag] == "protected-pcie"):
        raise _wrong("one mode that is known", f"flag {flag}, protected PCIe {protected}")
    return _MODES[flag]


def _vbios_version(raw: bytes) -> str:
    """Four bytes as a little-endian number, then a fifth: 00 5E 00 96 01 is 96.00.5E.00.01."""
    if len(raw) != 8 or any(raw[5:]):
        raise _wrong("a VBIOS version of five bytes", raw.hex())
    return ".".join(f"{one:02X}" for one in (*raw[3::-1], raw[4]))


def _names(raw: bytes, *, reverse: bool) -> frozenset[str]:
    """GPUs and switches spell the same names in opposite directions; here they are as switches spell them."""
    if len(raw) % _PDI_BYTES:
        raise _wrong(f"names of {_PDI_BYTES} bytes", len(raw))
    each = (raw[at : at + _PDI_BYTES] for at in range(0, len(raw), _PDI_BYTES))
    return frozenset((one[::-1] if reverse else one).hex() for one in each).difference(_NO_PDIS)


def _text(opaque: Mapping[int, bytes], kind: int, pattern: str) -> str:
    """A C string: what follows its end is zeros."""
    text = _field(opaque, kind).rstrip(b"\0").decode("ascii", "replace")
    if re.fullmatch(pattern, text) is None:
        raise _wrong(f"type {kind} matching {pattern}", text)
    return text


def _field(opaque: Mapping[int, bytes], kind: int) -> bytes:
    if not opaque.get(kind):
        raise _wrong(f"a field of type {kind}", sorted(opaque))
    return opaque[kind]


def _wrong(expected: str, seen: object) -> FormatError:
    return FormatError("format.gpu_report", expected=expected, seen=seen)
