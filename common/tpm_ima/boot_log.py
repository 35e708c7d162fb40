r"""What firmware and boot loader measured: the crypto-agile event log, replayed (side: verifier).

Source: TCG PC Client Platform Firmware Profile, "Event Logging"; Linux shows it as `binary_bios_measurements`. All
integers are little-endian.

  first   register 4 = 0 | type 4 = EV_NO_ACTION | SHA-1 digest 20 = 0 | size 4 | "Spec ID Event03\0", class 4, version
          3, size of UINTN 1, count 4, (algorithm 2, digest size 2) for each, vendor's, sized 1
  others  register 4 | type 4 | count 4, (algorithm 2, digest) for each | event, sized 4

EV_NO_ACTION is extended nowhere. One of them, "StartupLocality", says with which value register 0 began. What an event
means is not looked at: a profile names values of registers, and the log tells which event made them others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.errors import FormatError
from common.tpm_ima.cursor import Cursor
from common.tpm_ima.quote_format import SHA256
from common.tpm_ima.registers import extend

MAX_BOOT_LOG_BYTES: Final = 1 << 20
_NO_ACTION: Final = 3
_SPEC_ID: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_REGISTERS: Final = 24
_MOST_ALGORITHMS: Final = 8
_MOST_EVENTS: Final = 1 << 13
_SIZES: Final = {0x0004: 20, SHA256: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32, 0x0027: 32, 0x0028: 48, 0x0029: 64}
"""Digests by TPM_ALG_ID (TCG's Algorithm Registry): SHA-1, SHA-2, SM3, SHA-3."""


@dataclass(frozen=True, slots=True)
class BootEvent:
    """One event: `digest` is its SHA-256, `kind` an EV_ number."""

    register: int
    kind: int
    digest: bytes
    event: bytes


def parse_boot_log(raw: bytes) -> tuple[BootEvent, ...]:
    """All events behind the first. Raises `FormatError` (format.host_evidence)."""
    if len(raw) > MAX_BOOT_LOG_BYTES:
        raise FormatError(
            "format.host_evidence", expected=f"a log of at most {MAX_BOOT_LOG_BYTES} bytes", seen=len(raw)
        )
    cursor = Cursor(raw, "little")
    algorithms = _algorithms(cursor)
    events = list[BootEvent]()
    while not cursor.is_at_end:
        if len(events) == _MOST_EVENTS:
            raise FormatError("format.host_evidence", expected=f"at most {_MOST_EVENTS} events")
        events.append(_event(cursor, algorithms))
    return tuple(events)


def replay_boot_log(events: tuple[BootEvent, ...]) -> Mapping[int, bytes]:
    """The registers that these events leave behind; one without an event is as it began.

    Raises `FormatError` for a locality that is told late.
    """
    registers = dict.fromkeys(range(_REGISTERS), bytes(32))
    begun = False
    for one in events:
        if one.kind != _NO_ACTION:
            begun = begun or one.register == 0
            registers[one.register] = extend(registers[one.register], one.digest)
        elif one.register == 0 and one.event.startswith(_LOCALITY):
            if begun or len(one.event) != len(_LOCALITY) + 1:
                raise FormatError("format.host_evidence", expected="one locality, before register 0 is extended")
            registers[0], begun = bytes(31) + one.event[-1:], True
    return registers


def _algorithms(cursor: Cursor) -> dict[int, int]:
    """Algorithms and digest sizes, as the first event states them."""
    register, kind, digest = cursor.integer(4), cursor.integer(4), cursor.take(20)
    inner = Cursor(cursor.sized(4, 1024), "little")
    if (register, kind, digest) != (0, _NO_ACTION, bytes(20)) or inner.take(len(_SPEC_ID)) != _SPEC_ID:
        raise FormatError("format.host_evidence", expected="a crypto-agile event log")
    inner.take(4 + 3 + 1)
    count = inner.integer(4)
    if not 1 <= count <= _MOST_ALGORITHMS:
        raise FormatError("format.host_evidence", expected=f"1 to {_MOST_ALGORITHMS} algorithms", seen=count)
    stated = [(inner.integer(2), inner.integer(2)) for _ in range(count)]
    inner.sized(1, 255)
    inner.require_end()
    if SHA256 not in dict(stated) or len(dict(stated)) != count or any(_SIZES.get(one) != size for one, size in stated):
        raise FormatError(
            "format.host_evidence", expected="known algorithms, each once, SHA-256 among them", seen=stated
        )
    return dict(stated)


def _event(cursor: Cursor, algorithms: dict[int, int]) -> BootEvent:
    register, kind, count = cursor.integer(4), cursor.integer(4), cursor.integer(4)
    if register >= _REGISTERS or count != len(algorithms):
        expected = f"a register below {_REGISTERS}, {len(algorithms)} digests"
        raise FormatError("format.host_evidence", expected=expected, seen=f"{register}, {count}")
    digests = dict[int, bytes]()
    for _ in range(count):
        algorithm = cursor.integer(2)
        if algorithm not in algorithms or algorithm in digests:
            raise FormatError(
                "format.host_evidence", expected="each algorithm of the log once", seen=f"{algorithm:#06x}"
            )
        digests[algorithm] = cursor.take(algorithms[algorithm])
    return BootEvent(register, kind, digests[SHA256], cursor.sized(4, MAX_BOOT_LOG_BYTES))
