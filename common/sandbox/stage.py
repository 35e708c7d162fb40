"""A script: builds a child's file tree in private, gives up all rights, and becomes bubblewrap (side: enclave).

    python -I -S -B stage.py DESCRIPTION_FD PARENT_PID

It imports nothing of ours, so it can run before anything is on the path, and little else, because every start waits for
it (json alone would double its time). As root it gets a mount namespace of its own and ends as an unprivileged uid that
no other sandbox has; as an ordinary user it gets a user namespace too, and keeps the uid. Sources are opened before
anything is mounted over them and bound by descriptor, so an interpreter under a folder that the later uid may not enter
(a 0700 home) works all the same. It is no part of the wall: bubblewrap is.

A description is fields, each behind its length (8 bytes, big-endian), numbers in decimal: folder of the tree, most
bytes in it, place of the scratch folder, its bytes (0: nothing is writable), its files; number of binds, of files;
place and path of each bind; place and content of each file; then the command.
"""

import ctypes
import os
import sys

# linux/sched.h, linux/mount.h, linux/prctl.h
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x80000
PR_SET_PDEATHSIG, SIGKILL = 1, 9

UID_RANGE = (0x6000_0000, 0x6FFF_FFFF)
"""Uids of sandboxes of a root enclave: far above what accounts and containers are given."""

SMALL_UID_RANGE = (64_000, 64_999)
"""Where the user namespace that we run in maps fewer: inside the 65,536 that a container usually has."""

OOM_SCORE = "1000"
"""If the machine runs out of memory, a sandbox goes first."""

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of libc. Raises `OSError`."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Ask the kernel to mount. Raises `OSError`."""
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def main() -> None:
    """Build, drop, become."""
    description_fd, parent = int(sys.argv[1]), int(sys.argv[2])
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        sys.exit("the enclave is gone")
    with os.fdopen(description_fd, "rb") as file:
        described = Description(file.read())
    write_text("/proc/self/oom_score_adj", OOM_SCORE)
    uid = os.getuid() or unused_uid()
    os.umask(0o022)
    enter_namespaces()
    build_tree(described, uid)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.execve(described.command[0], described.command, {})


class Description:
    """What the enclave described."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0
        self.folder, self.tree_bytes = self._text(), self._number()
        self.scratch, self.scratch_bytes, self.scratch_files = self._text(), self._number(), self._number()
        binds, files = self._number(), self._number()
        self.binds = {self._text(): self._text() for _ in range(binds)}
        self.files = {self._text(): self._next() for _ in range(files)}
        self.command = list[str]()
        while self._at < len(raw):
            self.command.append(self._text())

    def _next(self) -> bytes:
        begin = self._at + 8
        self._at = begin + int.from_bytes(self._raw[self._at : begin], "big")
        return self._raw[begin : self._at]

    def _text(self) -> str:
        return self._next().decode()

    def _number(self) -> int:
        return int(self._next())


def unused_uid() -> int:
    """A random uid of the range that exists here, so that two sandboxes of a machine do not share one."""
    with open("/proc/self/uid_map") as file:
        ranges = file.read().splitlines()
    mapped = max(int(begin) + int(count) for begin, _, count in map(str.split, ranges))
    low, high = UID_RANGE if mapped > UID_RANGE[1] else SMALL_UID_RANGE
    return low + int.from_bytes(os.urandom(16), "big") % (high - low + 1)


def enter_namespaces() -> None:
    """A mount namespace of our own; an ordinary user needs a user namespace to be allowed one."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        call("unshare", CLONE_NEWNS)
    else:
        call("unshare", CLONE_NEWNS | CLONE_NEWUSER)
        write_text("/proc/self/setgroups", "deny")
        write_text("/proc/self/uid_map", f"{uid} {uid} 1")
        write_text("/proc/self/gid_map", f"{gid} {gid} 1")
    mount("none", "/", "none", MS_REC | MS_SLAVE)


def write_text(path: str, text: str) -> None:
    """Tell the kernel something."""
    with open(path, "w") as file:
        file.write(text)


def build_tree(described: Description, uid: int) -> None:
    """Make the tree in a new tmpfs: files from memory, binds, devices, scratch folder."""
    tree = described.folder
    sources = {place: os.open(path, os.O_PATH | os.O_CLOEXEC) for place, path in described.binds.items()}
    mount("tree", os.path.dirname(tree), "tmpfs", MS_NOSUID, f"mode=0755,size={described.tree_bytes}")
    for place, data in described.files.items():
        write_file(tree + place, data)
    for place, fd in sources.items():
        bind(fd, tree + place)
    hide_site_packages(tree, described.binds)
    scratch = tree + described.scratch
    os.makedirs(scratch)
    if described.scratch_bytes:
        limits = f"mode=0700,uid={uid},size={described.scratch_bytes},nr_inodes={described.scratch_files}"
        mount("scratch", scratch, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, limits)


def write_file(path: str, data: bytes) -> None:
    """A file that everybody may read and nobody may change."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(data)
    os.chmod(path, 0o444)


def bind(fd: int, place: str) -> None:
    """Bind what `fd` names at `place`, and close it."""
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        os.makedirs(place, exist_ok=True)
    else:
        write_file(place, b"")
    mount(f"/proc/self/fd/{fd}", place, "none", MS_BIND | MS_REC)
    os.close(fd)


def hide_site_packages(tree: str, binds: dict[str, str]) -> None:
    """Cover what else is installed beside the standard library."""
    for place in binds:
        folder = f"{tree}{place}/site-packages"
        if place.startswith("/python/lib/") and os.path.isdir(folder):
            mount("nothing", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=4096")


if __name__ == "__main__":
    main()
