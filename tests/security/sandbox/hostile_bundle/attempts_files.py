# mypy: ignore-errors
"""Files that are not the sandbox's, and marks on those that are (side: sandbox)."""

import fcntl
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager

from attempting import opened, raw

BUNDLE_FILE = os.path.abspath(__file__)
_NAME = b"cloister-attack\0"


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def climb() -> None:
    read(f"{os.path.dirname(BUNDLE_FILE)}/{'../' * 20}etc/passwd")


def make_outside() -> None:
    path = f"{os.path.dirname(BUNDLE_FILE)}/made"
    append(path)
    os.unlink(path)


def write_shared_folder() -> None:
    append("/dev/shm/cloister-attack")
    os.unlink("/dev/shm/cloister-attack")


@contextmanager
def own_folder():
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_own_folder(act: Callable[[str, str], object]) -> Callable[[], None]:
    """The attempt of `act(existing file, new path)` in a folder of its own."""

    def attempt() -> None:
        with own_folder() as folder:
            path = f"{folder}/file"
            append(path)
            act(path, f"{folder}/new")

    return attempt


def map_executable(path: str, _: str) -> None:
    with open(path, "r+b") as file:
        mmap.mmap(file.fileno(), 1, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()


def lock() -> None:
    with open(BUNDLE_FILE) as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def lease() -> None:
    with open(BUNDLE_FILE) as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def hint() -> None:
    """F_SET_RW_HINT stays with the inode."""
    with open(BUNDLE_FILE) as file:
        fcntl.fcntl(file, 1036, (1).to_bytes(8, sys.byteorder))


def notify_owner() -> None:
    with open(os.devnull) as file:
        fcntl.fcntl(file, fcntl.F_SETOWN, os.getppid())


def terminal_input() -> None:
    """TIOCSTI: type into the terminal of whoever started this; let through, /dev/null answers ENOTTY."""
    with open(os.devnull) as file:
        raw(16, file.fileno(), 0x5412, b"x")


ATTEMPTS = {
    "read_passwd": lambda: read("/etc/passwd"),
    "read_hostname": lambda: read("/proc/sys/kernel/hostname"),
    "read_own_environment": lambda: read("/proc/self/environ"),
    "read_own_memory_map": lambda: read("/proc/self/maps"),
    "write_own_memory": lambda: open("/proc/self/mem", "r+b").close(),
    "list_processes": lambda: os.listdir("/proc/1"),
    "reopen_descriptor": lambda: os.close(os.open("/proc/self/fd/0", os.O_RDONLY)),
    "read_kernel_facts": lambda: os.listdir("/sys/kernel"),
    "list_home": lambda: os.listdir("/root" if os.getuid() == 0 else "/home"),
    "climb_out": climb,
    "write_beside_bundle": make_outside,
    "write_bundle": lambda: append(BUNDLE_FILE),
    "write_shared_folder": write_shared_folder,
    "open_terminal": lambda: os.close(os.open("/dev/ptmx", os.O_RDWR)),
    "write_temporary": in_own_folder(lambda path, new: None),
    "symbolic_link": in_own_folder(lambda path, new: os.symlink("/etc/passwd", new)),
    "hard_link": in_own_folder(os.link),
    "change_mode": in_own_folder(lambda path, new: os.chmod(path, 0o777)),
    "change_owner": in_own_folder(lambda path, new: os.chown(path, os.getuid(), os.getgid())),
    "set_attribute": in_own_folder(lambda path, new: os.setxattr(path, "user.note", b"1")),
    "set_attribute_of_bundle": lambda: raw(188, BUNDLE_FILE.encode(), b"user.note", b"1", 1, 0),
    "set_times_of_bundle": lambda: raw(280, -100, BUNDLE_FILE.encode(), 0, 0),
    "set_times_of_device": lambda: os.utime(os.devnull),
    "make_device": in_own_folder(lambda path, new: os.mknod(new, 0o020600, os.makedev(1, 3))),
    "make_pipe": in_own_folder(lambda path, new: os.mkfifo(new)),
    "map_executable": in_own_folder(map_executable),
    "open_by_handle": lambda: raw(304, -100, 0, 0),
    "lock_file": lock,
    "lease_file": lease,
    "hint_file": hint,
    "own_signals_of_file": notify_owner,
    "type_into_terminal": terminal_input,
    "watch_inotify": lambda: opened(253),
    "watch_fanotify": lambda: opened(300, 0x200, 0),
    "copy_range": lambda: raw(326, -1, 0, -1, 0, 1, 0),
    "send_file": lambda: raw(40, -1, -1, 0, 1),
    "splice": lambda: raw(275, -1, 0, -1, 0, 1, 0),
    "change_root": lambda: raw(161, b"/"),
    "pivot_root": lambda: raw(155, 0, 0),
    "mount": lambda: raw(165, b"none", b"/nowhere", b"tmpfs", 0, 0),
    "unmount": lambda: raw(166, b"/nowhere", 0),
    "open_tree": lambda: opened(428, -100, b"/", 0x1),
    "open_file_system": lambda: opened(430, b"tmpfs", 0),
    "quota": lambda: raw(179, 0x80000100 - (1 << 32), 0, 0, 0),
}
