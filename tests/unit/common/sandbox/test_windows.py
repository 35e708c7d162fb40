"""common/sandbox/windows: what a child may do to a window, tried from this process with the child's descriptor."""

import mmap
import os
import threading
import time

import numpy as np
import pytest

from common.bundle import ColumnSpec
from common.sandbox.windows import Window, parse_output, plan_columns
from common.sandboxed.wire import HEADER, Status


def test_a_read_only_window_shows_what_the_enclave_writes_later() -> None:
    window = Window(100, writable_in_child=False)
    seen = mmap.mmap(window.child_fd, window.size, mmap.MAP_SHARED, mmap.PROT_READ)
    window.write(8, np.array([1, 2], np.uint16))
    assert seen[8:12] == b"\x01\x00\x02\x00"
    window.close()


@pytest.mark.parametrize("reopened", [False, True])
def test_a_read_only_window_can_not_be_written_through_any_descriptor(reopened: bool) -> None:
    window = Window(100, writable_in_child=False)
    fd = os.open(f"/proc/self/fd/{window.child_fd}", os.O_RDWR) if reopened else os.dup(window.child_fd)
    with pytest.raises(OSError, match="not permitted|denied|Bad file|Invalid"):
        mmap.mmap(fd, window.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(OSError, match="not permitted|denied|Bad file|Invalid"):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(OSError, match="not permitted|denied|Bad file|Invalid"):
        os.ftruncate(fd, 0)
    os.close(fd)
    window.close()


def test_an_output_buffer_is_writable_and_of_fixed_size() -> None:
    window = Window(100, writable_in_child=True)
    seen = mmap.mmap(window.child_fd, window.size)
    seen[0:2] = b"ok"
    assert bytes(window.copy(2)) == b"ok"
    for size in (0, 2 * window.size):
        with pytest.raises(OSError, match="not permitted|denied|Bad file|Invalid"):
            os.ftruncate(window.child_fd, size)
    window.close()


def test_a_window_is_whole_pages_and_wiped_to_its_end() -> None:
    window = Window(100, writable_in_child=True)
    seen = mmap.mmap(window.child_fd, 0)
    assert len(seen) == window.size
    assert window.size % mmap.PAGESIZE == 0
    seen[-1:] = b"x"
    window.wipe()
    assert seen[:] == bytes(window.size)
    window.close()


def test_what_was_written_into_a_read_only_window_is_wiped_whatever_came_after() -> None:
    window = Window(3 * mmap.PAGESIZE, writable_in_child=False)
    seen = mmap.mmap(window.child_fd, window.size, mmap.MAP_SHARED, mmap.PROT_READ)
    for offset, count in ((2 * mmap.PAGESIZE, 100), (8, 4)):
        window.write(offset, np.full(count, 7, np.uint8))
    window.wipe()
    assert seen[:] == bytes(window.size)
    window.write(0, np.full(window.size, 7, np.uint8))
    window.wipe()
    assert seen[:] == bytes(window.size)
    window.close()


def test_columns_lie_apart() -> None:
    x, y = ColumnSpec(column="x", shape=(3,), dtype="uint8"), ColumnSpec(column="y", shape=(), dtype="int64")
    (first, second), size = plan_columns((x, y), 100)
    assert (first.offset, second.offset) == (0, 320)
    assert size == 320 + 832


@pytest.mark.parametrize(("sequence", "status"), [(6, Status.DONE), (7, 99), (7, 0xFFFF_FFFF)])
def test_an_old_or_strange_output_does_not_count(sequence: int, status: int) -> None:
    assert parse_output(HEADER.pack(sequence, status, 20, 1.0, 2.0), 7)[0] is Status.OUTPUT


def test_a_header_is_read_as_it_was_written() -> None:
    assert parse_output(HEADER.pack(7, Status.DONE, 20, 1.0, 2.0), 7) == (Status.DONE, 20, 1.0, 2.0)


@pytest.mark.parametrize("deed", ["write", "copy"])
def test_other_threads_run_while_a_large_window_is_copied(deed: str) -> None:
    """The clock of an enclave is one of them."""
    size = 256 << 20
    window, values = Window(size, writable_in_child=True), np.ones(size, np.uint8)
    window.write(0, values)
    moments, over = [time.perf_counter()], threading.Event()

    def tick() -> None:
        while not over.wait(0.0005):
            moments.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    while len(moments) < 3:
        time.sleep(0.001)
    began = time.perf_counter()
    if deed == "write":
        window.write(0, values)
    else:
        window.copy(size)
    ended = time.perf_counter()
    over.set()
    thread.join()
    window.close()
    assert sum(began < moment < ended for moment in moments) >= 3
