"""Landlock: the kernel's own list of what this thread may do with files, TCP and others (side: sandbox).

A second wall behind namespaces, read-only mounts and filters, for a fault in one of them: it needs no right and can't
be taken off. Where the kernel lacks it, or its administrator has not switched it on, the other walls stand alone, and
the enclave's log says so. It holds for the calling thread and those that it starts: ask while there is one.

Source of numbers and structures: linux/landlock.h, docs.kernel.org/userspace-api/landlock.html.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import Final

from common.sandboxed.wire import SCRATCH_FOLDER

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
_NET: Final = 0b11  # bind and connect of TCP
_SCOPES: Final = 0b11  # abstract unix sockets and signals of others

_FILE_RIGHTS_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights that a kernel of this ABI can refuse; later ABIs know the same."""

_READING: Final = _READ_FILE | _READ_DIR
_SCRATCH: Final = (
    _READING | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
)  # fmt: skip


def landlock_abi() -> int:
    """Which version of Landlock this kernel offers; 0 for none."""
    found = _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(found, 0)


def restrict_files(*, scratch: bool, devices: Sequence[str] = ()) -> None:
    """From now on the tree is read, the scratch folder written, and nothing else opened, connected or signalled.

    `devices`: nodes that are read, written and controlled as well.

    Returns without effect where there is no Landlock. Raises `OSError` where there is and it fails.
    """
    abi = landlock_abi()
    if abi == 0:
        return
    handled = _FILE_RIGHTS_BY_ABI[min(abi, max(_FILE_RIGHTS_BY_ABI))]
    attributes = struct.pack("<Q", handled)
    attributes += struct.pack("<Q", _NET) if abi >= 4 else b""
    attributes += struct.pack("<Q", _SCOPES) if abi >= 6 else b""
    ruleset = _checked(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        _allow(ruleset, "/", _READING)
        _allow(ruleset, os.devnull, _READ_FILE | _WRITE_FILE)
        if scratch:
            _allow(ruleset, SCRATCH_FOLDER, _SCRATCH & handled)
        for node in devices:
            _allow(ruleset, node, (_READ_FILE | _WRITE_FILE | _IOCTL_DEVICE) & handled)
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _checked(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("<Qi", rights, place), 0)
    finally:
        os.close(place)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result = library.syscall(
        ctypes.c_long(number), *(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    )
    return int(result)


def _checked(number: int, *arguments: int | bytes | None) -> int:
    result = _syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode.get(ctypes.get_errno(), "landlock"))
    return result
