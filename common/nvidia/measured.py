"""Does a device run what NVIDIA signed? Its measurements against reference values (side: verifier).

Source: NVIDIA attestation SDK, gpu/verify.cpp and switch/verify.cpp (`generate_set_measurement_claims`). A GPU has
values for its driver and for its VBIOS, a switch for its VBIOS; both of exactly the versions in its report. What the
values count must be measured as they say; what they do not count may be anything. A GPU in a mode for debug tools
measures otherwise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import AppraisalError
from common.nvidia.claims import DeviceClaims, GpuClaims, SwitchClaims
from common.nvidia.rim import ReferenceValues

_DECODER_INDEX: Final = 35
"""It measures NVDEC0, and counts where that is on."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A measurement that is none of the good ones; `seen` is empty where the device has none of this index."""

    index: int
    of_vbios: bool
    good: tuple[bytes, ...]
    seen: bytes

    def __str__(self) -> str:
        return f"{'VBIOS' if self.of_vbios else 'driver'} {self.index}: {self.seen.hex() or 'none'}"


def values_for(
    claims: GpuClaims | SwitchClaims, known: Sequence[ReferenceValues], *, may_be_unknown: bool = False
) -> tuple[ReferenceValues, ...]:
    """The reference values of exactly this device's versions: one for each, or none where one `may_be_unknown`.

    Raises `AppraisalError` (appraisal.gpu_rim) where they are not there, or speak of one index twice.
    """
    driver = (claims.fields.driver_version,) if isinstance(claims, GpuClaims) else ()
    chip, of_switch = claims.chip.replace("_", ""), isinstance(claims, SwitchClaims)
    found = list[ReferenceValues]()
    for version in (*driver, claims.fields.vbios_version):
        fitting = [one for one in known if (one.chip, one.of_switch, one.version) == (chip, of_switch, version)]
        if len(fitting) != 1 and not (may_be_unknown and not fitting):
            seen = [f"{one.chip} {one.version}" for one in known]
            raise AppraisalError("appraisal.gpu_rim", expected=f"one document for {chip} {version}", seen=seen)
        found += fitting
    if sum(len(one.golden) for one in found) != len({index for one in found for index in one.golden}):
        raise AppraisalError("appraisal.gpu_rim", expected="driver and VBIOS that speak of different indices")
    return tuple(found)


def mismatches(claims: GpuClaims | SwitchClaims, values: Sequence[ReferenceValues]) -> tuple[Mismatch, ...]:
    """All that differs."""
    without_decoder = isinstance(claims, GpuClaims) and not claims.fields.decoder
    left_out = {_DECODER_INDEX} if without_decoder else set()
    return tuple(one for one in _each(claims, values) if one.index not in left_out)


def _each(claims: DeviceClaims, values: Sequence[ReferenceValues]) -> Iterator[Mismatch]:
    for one in values:
        for index, good in sorted(one.golden.items()):
            seen = claims.measurements.get(index, b"")
            if seen not in good:
                yield Mismatch(index, one.of_vbios, good, seen)
