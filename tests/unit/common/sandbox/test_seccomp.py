"""common/sandbox/seccomp: the filters as programs, run over system calls by a small interpreter of classic BPF."""

import errno
import platform
import struct

import pytest

from common.sandbox.seccomp import COMMON, GPU, GPU_STARTUP, SCRATCH, STARTUP, FilterKind, compile_filter

ALLOW, ERRNO, TRAP, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x00030000, 0x80000000
X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
I386 = 0x40000003

OUTER = {FilterKind.OUTER, FilterKind.GPU_OUTER}
WITH_GPU = {FilterKind.GPU_OUTER, FilterKind.GPU_TRAINING}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64")


def verdict(kind: FilterKind, number: int, *arguments: int, arch: int = X86_64, tells: bool = False) -> int:
    """Run the filter over struct seccomp_data (linux/seccomp.h), as the kernel does."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("<HBBI", compile_filter(kind, tells=tells)))
    accumulator, position = 0, 0
    while True:
        code, jump_true, jump_false, k = program[position]
        position += 1
        if code == 0x20:  # ld [k]
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:  # and #k
            accumulator &= k
        elif code == 0x05:  # ja
            position += k
        elif code == 0x06:  # ret #k
            return int(k)
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: accumulator & k != 0}
            position += jump_true if holds[code] else jump_false


REFUSED = {
    "socket": 41, "socketpair": 53, "connect": 42, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "userfaultfd": 323, "bpf": 321, "add_key": 248,
    "keyctl": 250, "perf_event_open": 298, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
    "unshare": 272, "setns": 308, "open_tree": 428, "fsopen": 430, "io_uring_setup": 425, "memfd_create": 319,
    "pidfd_open": 434, "pidfd_getfd": 438, "mincore": 27, "flock": 73, "chmod": 90, "utimensat": 280, "setxattr": 188,
    "sched_setaffinity": 203, "setpriority": 141, "personality": 135, "fork": 57, "vfork": 58, "execveat": 322,
    "tgkill": 234, "rt_sigqueueinfo": 129, "sysinfo": 99, "init_module": 175, "kexec_load": 246, "inotify_init1": 294,
    "getrandom": 318,
}  # fmt: skip


def test_a_context_has_a_unix_socket_before_provider_code_and_no_other() -> None:
    sockets = {(kind, family) for kind in FilterKind for family in (1, 2, 10, 16) if verdict(kind, 41, family) == ALLOW}
    assert sockets == {(FilterKind.GPU_OUTER, 1)}
    for number in (49, 50):  # bind listen
        assert {kind for kind in FilterKind if verdict(kind, number) == ALLOW} == {FilterKind.GPU_OUTER}
    for number in (42, 43, 288, 44, 45, 46, 47):  # connect accept accept4 sendto recvfrom sendmsg recvmsg
        assert all(verdict(kind, number) == ERRNO | errno.EPERM for kind in FilterKind)


@pytest.mark.parametrize("kind", list(FilterKind))
@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_calls_fail_with_eperm(kind: FilterKind, name: str) -> None:
    assert verdict(kind, REFUSED[name]) == ERRNO | errno.EPERM


@pytest.mark.parametrize("kind", list(FilterKind))
def test_what_torch_needs_is_open(kind: FilterKind) -> None:
    for number in (0, 1, 3, 9, 12, 202, 228, 231, 257):  # read write close mmap brk futex clock exit openat
        assert verdict(kind, number) == ALLOW


@pytest.mark.parametrize("kind", list(FilterKind))
def test_clone3_is_unknown_so_that_flags_can_be_read(kind: FilterKind) -> None:
    assert verdict(kind, 435) == ERRNO | errno.ENOSYS


THREAD, PROCESS, NEW_USER = 0x3D0F00, 0x01200011, 0x10000011


@pytest.mark.parametrize(
    ("kind", "flags", "allowed"),
    [
        (FilterKind.OUTER, PROCESS, True),
        (FilterKind.OUTER, NEW_USER, False),
        (FilterKind.TRAINING, THREAD, True),
        (FilterKind.TRAINING, PROCESS, False),
        (FilterKind.TRAINING, THREAD | 0x20000, False),
        (FilterKind.QUERY, THREAD, False),
        (FilterKind.QUERY, PROCESS, False),
        (FilterKind.GRAPH, THREAD, True),
        (FilterKind.GRAPH, PROCESS, False),
        (FilterKind.GRAPH, THREAD | 0x20000, False),
        (FilterKind.GPU_OUTER, PROCESS, True),
        (FilterKind.GPU_OUTER, NEW_USER, False),
        (FilterKind.GPU_TRAINING, THREAD, True),
        (FilterKind.GPU_TRAINING, PROCESS, False),
        (FilterKind.GPU_TRAINING, THREAD | 0x20000, False),
    ],
)
def test_who_may_start_what(kind: FilterKind, flags: int, allowed: bool) -> None:
    assert (verdict(kind, 56, flags) == ALLOW) is allowed


@pytest.mark.parametrize("kind", [one for one in FilterKind if one not in OUTER])
@pytest.mark.parametrize("number", [59, 62, 317, 61, 444])  # execve kill seccomp wait4 landlock
def test_start_up_calls_end_before_provider_code(kind: FilterKind, number: int) -> None:
    assert {verdict(one, number) for one in OUTER} == {ALLOW}
    assert verdict(kind, number) == ERRNO | errno.EPERM


@pytest.mark.parametrize(
    ("number", "arguments", "allowed"),
    [
        (9, (0, 4096, 3, 0x22), True),  # mmap private anonymous
        (9, (0, 4096, 3, 0x21), None),  # mmap shared anonymous: no limit would count it
        (9, (0, 4096, 3, 0x23), None),  # the same, validated
        (9, (0, 4096, 3, 0x122), False),  # mmap growing down: counted as a stack
        (9, (0, 4096, 1, 0x01), True),  # mmap of a window
        (302, (0,), True),  # prlimit64 of this process
        (302, (1,), False),
        (72, (0, 3), True),  # fcntl F_GETFL
        (72, (0, 8), False),  # F_SETOWN
        (72, (0, 1036), False),  # F_SET_RW_HINT, kept with the inode
        (157, (15,), True),  # prctl PR_SET_NAME
        (157, (22,), False),  # PR_SET_SECCOMP
        (16, (0, 0x5412), False),  # ioctl TIOCSTI
        (16, (0, 0x8933), False),  # ioctl SIOCGIFINDEX
        (16, (0, 0xC020462A), None),  # ioctl NV_ESC_RM_CONTROL
        (16, (0, 0xFFFFFFFFC020462A), None),  # the same, as a library may extend it
        (16, (0, 0x49), None),  # ioctl UVM_CREATE_EXTERNAL_RANGE
        (16, (0, 0x30000001), None),  # ioctl UVM_INITIALIZE
        (16, (0, 0x30000003), False),
        (16, (0, 0x80), False),
    ],
)
def test_arguments_decide(number: int, arguments: tuple[int, ...], allowed: bool | None) -> None:
    """None: with a GPU alone."""
    for kind in FilterKind:
        assert (verdict(kind, number, *arguments) == ALLOW) is (kind in WITH_GPU if allowed is None else allowed)


def test_provider_code_can_not_make_itself_dumpable_again() -> None:
    assert {verdict(kind, 157, 4) for kind in OUTER} == {ALLOW}
    assert {verdict(kind, 157, 4) for kind in FilterKind if kind not in OUTER} == {ERRNO | errno.EPERM}


@pytest.mark.parametrize("kind", list(FilterKind))
def test_other_tables_of_system_calls_kill(kind: FilterKind) -> None:
    assert verdict(kind, 1, arch=I386) == KILL_PROCESS
    assert verdict(kind, 0x4000_0001) == KILL_PROCESS  # x32


OPEN_BY_ARGUMENT = {"fcntl", "ioctl", "prctl", "prlimit64", "mmap", "clone"}
LAST_NUMBER = 600
"""More than Linux has."""


@pytest.mark.parametrize("kind", list(FilterKind))
def test_nothing_stays_open_but_what_is_listed(kind: FilterKind) -> None:
    import pyseccomp

    listed = COMMON + (() if kind is FilterKind.QUERY else SCRATCH) + (STARTUP if kind in OUTER else ())
    listed += (GPU if kind in WITH_GPU else ()) + ((*GPU_STARTUP, "socket") if kind is FilterKind.GPU_OUTER else ())
    named = {pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, one) if isinstance(one, str) else one for one in listed}
    named |= {pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, one) for one in OPEN_BY_ARGUMENT}
    assert {number for number in range(LAST_NUMBER) if verdict(kind, number) == ALLOW} <= named


SOME_ARGUMENTS = ((), (1, 1, 1, 1), (THREAD, 5, 3, 0x22), (THREAD | 0x20000,), (PROCESS,), (15, 0x5401), (4,))


@pytest.mark.parametrize("kind", [FilterKind.TRAINING, FilterKind.QUERY, FilterKind.GPU_TRAINING])
def test_a_filter_that_tells_decides_the_same(kind: FilterKind) -> None:
    refused, starting = ERRNO | errno.EPERM, {56, 57, 58}  # clone fork vfork: with signals blocked, a trap kills
    for number in range(LAST_NUMBER):
        for arguments in SOME_ARGUMENTS:
            plain, telling = (verdict(kind, number, *arguments, tells=tells) for tells in (False, True))
            untold = number in starting and not (number == 56 and THREAD & 0x10000 & (*arguments, 0)[0])
            assert telling == (TRAP if plain == refused and not untold else plain), (number, arguments)
    assert verdict(kind, 1, arch=I386, tells=True) == KILL_PROCESS


@pytest.mark.parametrize("number", [290, 293])  # eventfd2 pipe2
def test_what_a_driver_wakes_its_threads_by_is_open_with_a_gpu_alone(number: int) -> None:
    assert {kind for kind in FilterKind if verdict(kind, number) == ALLOW} == WITH_GPU


def test_a_query_has_no_scratch_calls() -> None:
    assert verdict(FilterKind.TRAINING, 83) == ALLOW  # mkdir
    assert verdict(FilterKind.QUERY, 83) == ERRNO | errno.EPERM
