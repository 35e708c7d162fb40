"""Product lines: which processors they are, and how their TCB_VERSION is laid out (side: verifier).

Sources: AMD 56860, TCB_VERSION (one table for Milan and Genoa, one for Turin); AMD 57230, the certificates' extensions
1.3.6.1.4.1.3704.1.3.N. Families and models as AMD's own library tells lines apart by them (virtee/sev, `Generation`).
"""

from types import MappingProxyType
from typing import Final

from common.errors import FormatError
from common.messages.snp_reference_values import SnpProduct, SnpTcb

_MODELS: Final = MappingProxyType({
    SnpProduct.MILAN: (0x19, (range(0x10),)),
    SnpProduct.GENOA: (0x19, (range(0x10, 0x20), range(0xA0, 0xB0))),
    SnpProduct.TURIN: (0x1A, (range(0x12),)),
})  # fmt: skip
"""Family, and models. Bergamo and Siena are of Genoa's line."""

SILICON: Final = MappingProxyType({"Milan": SnpProduct.MILAN, "Genoa": SnpProduct.GENOA, "Bergamo": SnpProduct.GENOA,
                                   "Siena": SnpProduct.GENOA, "Turin": SnpProduct.TURIN})  # fmt: skip
"""What a VCEK calls its chip, without the stepping (57230, productName) -> its line."""

_OLDER: Final = (("boot_loader", 1), ("tee", 2), ("", 4), ("", 5), ("", 6), ("", 7), ("snp", 3), ("microcode", 8))
_TURIN: Final = (("fmc", 9), ("boot_loader", 1), ("tee", 2), ("snp", 3), ("", 5), ("", 6), ("", 7), ("microcode", 8))
"""Each byte's component, where it has one, and the last number of its extension."""


def is_of(product: SnpProduct, cpuid: tuple[int, int]) -> bool:
    """Whether a processor of this family and model is of that line."""
    family, models = _MODELS[product]
    return cpuid[0] == family and any(cpuid[1] in one for one in models)


def tcb_extensions(product: SnpProduct) -> tuple[int, ...]:
    """The last numbers of a certificate's TCB extensions, in the order of TCB_VERSION's eight bytes."""
    return tuple(number for _, number in _layout(product))


def read_tcb(raw: bytes, product: SnpProduct) -> SnpTcb:
    """TCB_VERSION of this line. Raises `FormatError` (format.snp_report) where a reserved byte is not zero."""
    named = {name: version for (name, _), version in zip(_layout(product), raw, strict=True) if name}
    if any(version for (name, _), version in zip(_layout(product), raw, strict=True) if not name):
        raise FormatError("format.snp_report", expected=f"a TCB_VERSION of {product}", seen=raw.hex())
    return SnpTcb(**named)


def _layout(product: SnpProduct) -> tuple[tuple[str, int], ...]:
    return _TURIN if product is SnpProduct.TURIN else _OLDER
