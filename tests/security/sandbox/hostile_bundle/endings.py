# mypy: ignore-errors
"""Ways to end, to hang, to make noise: what the enclave's host might see of it (side: sandbox). Plain Python."""

import ctypes
import mmap
import os
import sys
import threading
import time

_INT_0x80 = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid of i386); int 0x80; ret
_X32 = bytes.fromhex("b8270000400f05c3")  # mov eax, 0x40000027 (getpid of x32); syscall; ret


def raise_error() -> None:
    raise RuntimeError("the data is 7")


def leave() -> None:
    sys.exit(7)


def end_process() -> None:
    os._exit(77)


def claim_status() -> None:
    """End with a status that means something to a zygote: TIMEOUT."""
    os._exit(4)


def crash() -> None:
    os.abort()


def fault() -> None:
    ctypes.string_at(8)


def overflow_stack() -> None:
    """Recursion below Python, until the stack ends."""
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    sys.setrecursionlimit(1 << 30)
    again = call(lambda number: again(number + 1))
    again(0)


def recurse() -> None:
    sys.setrecursionlimit(1000)
    recurse()


def run_code(code: bytes) -> None:
    """Machine code of our own: memory may be writable and executable (torch compiles its kernels). Tells its result."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
    memory.write(code)
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
    if result > 0:
        print(result)


def call_of_i386() -> None:
    run_code(_INT_0x80)


def call_of_x32() -> None:
    run_code(_X32)


def loop() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(3600)


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def flood_output() -> None:
    for _ in range(64):
        for fd in (1, 2):
            os.write(fd, bytes(1 << 16))


def print_data() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        print("PRINTED-DATA", file=stream, flush=True)
    for fd in (1, 2):
        os.write(fd, b"PRINTED-DATA")


ENDINGS = (
    raise_error, leave, end_process, claim_status, crash, fault, overflow_stack, recurse, call_of_i386, call_of_x32,
    loop, sleep, deadlock, flood_output, print_data,
)  # fmt: skip
