"""The toolchain's mode: one for all members of a job, resolved once (side: library).

    FP32   float32 throughout
    BF16   channels last; forward pass and loss in bfloat16 autocast; parameters, optimiser and deltas stay float32

On a GPU it is the GPU that decides, by its compute capability, which its driver says in the sandbox.

A trainer says in each frame which it can, the parameter server which it has resolved (frames.FrameBody). Whether a
processor has AMX is the host's word, as all that an enclave sees of its processor by CPUID or /proc/cpuinfo: a host
that lies makes rounds slow or rounds them otherwise, and tells itself nothing by it.
"""

from enum import IntEnum
from pathlib import Path
from typing import Final

from common.messages.order import ToolchainName

CPU_INFO: Final = Path("/proc/cpuinfo")

BF16_FLAGS: Final = frozenset({"amx_tile", "amx_bf16"})
"""As Linux names them (arch/x86/include/asm/cpufeatures.h), and lists them only where it lets processes use them.

Without AMX bfloat16 is no faster than float32: of AVX-512's the units are as wide, and the casts come on top.
"""


BF16_CAPABILITY: Final = (8, 0)
"""From Ampere on; GPUs before emulate bfloat16 (CUDA C++ Programming Guide, compute capabilities)."""


class Toolchain(IntEnum):
    """By its number on the wire. A trainer's `BF16` means that it can both."""

    UNRESOLVED = 0
    FP32 = 1
    BF16 = 2

    @classmethod
    def named(cls, name: ToolchainName) -> "Toolchain":
        """The mode of an order or a manifest."""
        return cls[name.upper()]

    @property
    def word(self) -> ToolchainName:
        """The mode in a manifest or report; that of a job whose members were never heard is float32."""
        return "bf16" if self is Toolchain.BF16 else "fp32"


def toolchain_of(cpu_info: str) -> Toolchain:
    """The best mode that every processor listed in a /proc/cpuinfo can."""
    flags = [set(line.partition(":")[2].split()) for line in cpu_info.splitlines() if line.startswith("flags")]
    return Toolchain.BF16 if flags and all(one >= BF16_FLAGS for one in flags) else Toolchain.FP32


def toolchain_of_gpu(capability: tuple[int, int]) -> Toolchain:
    """The best mode of a GPU of this compute capability."""
    return Toolchain.BF16 if capability >= BF16_CAPABILITY else Toolchain.FP32


def own_toolchain() -> Toolchain:
    """The best mode of the processors here."""
    try:
        return toolchain_of(CPU_INFO.read_text())
    except (OSError, UnicodeDecodeError):
        return Toolchain.FP32
