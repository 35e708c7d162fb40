# mypy: ignore-errors
"""Rarely used parts of the kernel: what widens its surface, lasts, or moves the whole machine (side: sandbox).

Where a call would do something, its arguments are such that it fails after it was let through.
"""

import ctypes

from attempting import libc, opened, raw

_BAD = -1
PR_READ_EXEC = 5


def shared_memory() -> None:
    identifier = libc.shmget(0, 4096, 0o1600)
    if identifier < 0:
        raise OSError(ctypes.get_errno(), "refused")
    libc.shmctl(identifier, 0, None)


def message_queue() -> None:
    identifier = libc.msgget(0, 0o1600)
    if identifier < 0:
        raise OSError(ctypes.get_errno(), "refused")
    libc.msgctl(identifier, 0, None)


def semaphore() -> None:
    identifier = libc.semget(0, 1, 0o1600)
    if identifier < 0:
        raise OSError(ctypes.get_errno(), "refused")
    libc.semctl(identifier, 0, 0)


ATTEMPTS = {
    "bpf": lambda: raw(321, 0, 0, 0),
    "perf_event": lambda: raw(298, 0, 0, -1, -1, 0),
    "userfaultfd": lambda: opened(323, 1),
    "keyctl": lambda: raw(250, 0, -3, 0),
    "add_key": lambda: raw(248, 0, 0, 0, 0, 0),
    "request_key": lambda: raw(249, 0, 0, 0, 0),
    "memory_file": lambda: opened(319, b"x", 0),
    "secret_memory_file": lambda: opened(447, 0),
    "shared_memory_sysv": shared_memory,
    "shared_memory_attach": lambda: raw(30, _BAD, 0, 0),
    "message_queue_sysv": message_queue,
    "semaphore_sysv": semaphore,
    "message_queue_posix": lambda: raw(240, b"x" * 300, 0o102, 0o600, 0),
    "landlock_of_its_own": lambda: raw(444, 0, 0, 1),
    "resident_pages": lambda: raw(27, 4096, 0, 0),
    "lock_memory": lambda: raw(149, 4096, 0),
    "lock_all_memory": lambda: raw(151, 0),
    "bind_memory": lambda: raw(237, 4096, 0, 0, 0, 0, 0),
    "move_pages": lambda: raw(279, 0, 0, 0, 0, 0, 0),
    "remap_pages": lambda: raw(216, 1, 0, 0, 0, 0),
    "protection_key": lambda: raw(330, 0, 4),
    "gift_pages": lambda: raw(278, _BAD, 0, 0, 0),
    "descriptor_table": lambda: raw(154, 0, 0, 0),
    "port_level": lambda: raw(172, 4),
    "port_access": lambda: raw(173, -1, 1, 0),
    "reboot": lambda: raw(169, 1, 2, 3, 0),
    "load_kernel": lambda: raw(246, 0, 1 << 20, 0, 0xFFFF),
    "load_module": lambda: raw(175, 0, 0, 0),
    "unload_module": lambda: raw(176, 0, 0),
    "swap_on": lambda: raw(167, 0, -1),
    "account": lambda: raw(163, b"/nonexistent"),
    "host_name": lambda: raw(170, b"x", -1),
    "kernel_log": lambda: raw(103, 10, 0, 0),
    "set_clock": lambda: raw(227, 99, 0),
    "adjust_clock": lambda: raw(159, bytes(256)),
    "system_facts": lambda: raw(99, bytearray_address(256)),
    "fresh_entropy": lambda: raw(318, bytearray_address(8), 8, 0),
}


def bytearray_address(size: int) -> ctypes.Array:
    """Room that the kernel may write to."""
    return ctypes.create_string_buffer(size)
