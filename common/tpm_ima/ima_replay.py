"""The entries of a list that a quote speaks of, and that the list began with this boot (side: verifier).

Linux appends an entry, then extends register 10 by the hash of its data, in each bank with the bank's algorithm (since
Linux 5.8; earlier kernels filled SHA-1 up with zeros, and are refused). A list is read after the quote and may have
grown: what was there when the TPM quoted is the one prefix that gives the quoted value. What is behind it is neither
read nor held against anything, and nothing before it is left out.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from common.crypto.digests import sha256_raw
from common.errors import AppraisalError
from common.tpm_ima.ima_list import Measured, read_list

BOOT_AGGREGATE: Final = b"boot_aggregate"
_AGGREGATED: Final = (range(8), range(10))
"""Registers 0 to 7; since Linux 5.8 also 8 and 9, in all banks but SHA-1 (ima_calc_boot_aggregate)."""


def quoted_entries(measurement_list: bytes, register: bytes) -> tuple[Measured, ...]:
    """The shortest prefix of the list that leaves this value in register 10.

    Raises `AppraisalError` (appraisal.host_log) when none does, `FormatError` when an entry up to there is wrong.
    """
    value, entries = bytes(32), list[Measured]()
    for one in read_list(measurement_list):
        value = sha256(value + one.extends).digest()
        entries.append(one)
        if value == register:
            return tuple(entries)
    seen = f"a list of {len(entries)} entries that gives {value.hex()}"
    raise AppraisalError("appraisal.host_log", expected=f"register 10 = {register.hex()}", seen=seen)


def require_boot_aggregate(entries: tuple[Measured, ...], registers: Mapping[int, bytes]) -> None:
    """The list begins with the registers of this boot. Raises `AppraisalError` (appraisal.host_log)."""
    expected = [sha256_raw(b"".join(registers[number] for number in some)).hex() for some in _AGGREGATED]
    claims = [b"sha256:%b %b" % (digest.encode(), BOOT_AGGREGATE) for digest in expected]
    if entries[0].claim not in claims or entries[0].is_violation:
        seen = entries[0].claim[:200].decode("ascii", "replace")
        raise AppraisalError("appraisal.host_log", expected=f"boot_aggregate, one of {expected}", seen=seen)
