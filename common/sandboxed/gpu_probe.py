"""Can CUDA compute in this sandbox? Asked through the driver's library alone, before torch is (side: sandbox).

What it finds goes to stderr as one line: `capability MAJOR MINOR NAME`, or `failed STEP NUMBER`. It makes a context,
and moves bytes to the GPU and back, because a driver may well begin in a sandbox and fail there later.

The library names each thread that it starts, and takes a name that can't be given for a thread that did not start.
glibc gives names to other threads by writing to /proc/self/task/TID/comm (pthread_setname_np(3)). There is no /proc
here, so the scratch folder is mounted there, with a folder for each thread that may come: names go into plain files.

Source of names and numbers: cuda.h, https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import ctypes
import os
import sys
from typing import Any, Final

from common.sandboxed.wire import THREAD_FOLDER

LIBRARY: Final = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES: Final = 128
_LAST_THREAD: Final = 256
"""Of this namespace's numbers, where threads of the library begin at 3."""

_MOVED: Final = bytes(range(256))


class _Driver:
    """Calls by name. Raises `SystemExit` with the line that says which failed."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise SystemExit("failed library 0") from None

    def call(self, name: str, *arguments: Any) -> None:
        number = getattr(self._library, name)(*arguments)
        if number != 0:
            raise SystemExit(f"failed {name} {number}")


def make_thread_folders() -> None:
    """Before the library is first asked. Raises `OSError`."""
    for number in range(1, _LAST_THREAD + 1):
        os.makedirs(f"{THREAD_FOLDER}/{number}", exist_ok=True)


def main() -> None:
    """Ask, and say. A line that begins with `failed` ends with status 1 (`SystemExit` with a text)."""
    make_thread_folders()
    driver, device, context = _Driver(), ctypes.c_int(), ctypes.c_void_p()
    driver.call("cuInit", 0)
    driver.call("cuDeviceGet", ctypes.byref(device), 0)
    major, minor, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    driver.call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
    driver.call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
    driver.call("cuDeviceGetName", name, _NAME_BYTES, device)
    driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    driver.call("cuCtxSetCurrent", context)
    _move_bytes(driver)
    sys.stderr.write(f"capability {major.value} {minor.value} {name.value.decode(errors='replace')}\n")


def _move_bytes(driver: _Driver) -> None:
    place, back = ctypes.c_uint64(), ctypes.create_string_buffer(len(_MOVED))
    driver.call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(len(_MOVED)))
    driver.call("cuMemcpyHtoD_v2", place, _MOVED, ctypes.c_size_t(len(_MOVED)))
    driver.call("cuMemcpyDtoH_v2", back, place, ctypes.c_size_t(len(_MOVED)))
    if back.raw != _MOVED:
        raise SystemExit("failed bytes 0")
