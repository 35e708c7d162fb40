"""Provider code that tells secrets by what it uses up, as fast as it is asked to (side: sandbox).

A symbol lasts a given time and begins at a whole multiple of it on the monotonic clock, which sandbox and host share;
which bit it is follows from its number. So a receiver needs no agreement, and knows what it should have read.
"""

import hashlib
import mmap
import threading
import time
from typing import Any

import torch
from torch import Tensor, nn

BLOCK_BYTES = 2 << 20
"""What a 1 has in memory, and a 0 has not."""


def bit_of(number: int) -> int:
    """The bit of a symbol."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()[0] & 1


def wait_until(moment: float) -> None:
    """Sleep."""
    time.sleep(max(0.0, moment - time.monotonic()))


def send_by_time(number: int, seconds: float) -> None:
    """Be busy for a 1, idle for a 0."""
    end = (number + 1) * seconds
    if bit_of(number):
        while time.monotonic() < end:
            pass
    else:
        wait_until(end)


def send_by_memory(number: int, seconds: float) -> None:
    """Hold touched memory for a 1, none for a 0."""
    if bit_of(number):
        with mmap.mmap(-1, BLOCK_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
            for page in range(0, BLOCK_BYTES, mmap.PAGESIZE):
                held[page] = 1
            wait_until((number + 1) * seconds - 0.1 * seconds)
    wait_until((number + 1) * seconds)


WAYS = (send_by_time, send_by_memory)


def burn() -> None:
    """Work without end, outside Python's lock."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)


class Sender(nn.Module):
    """`x[0]` is (way, microseconds of a symbol, symbols, whether another thread burns time meanwhile)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Send."""
        way, microseconds, symbols, burns = (int(one) for one in batch["x"][0])
        if burns:
            threading.Thread(target=burn, daemon=True).start()
        seconds = microseconds / 1e6
        first = int(time.monotonic() / seconds) + 1
        wait_until(first * seconds)
        for number in range(first, first + symbols):
            WAYS[way](number, seconds)
        return self.weight.sum() * 0

    def configure_optimizers(self) -> Any:
        """One that does nothing."""
        return torch.optim.SGD(self.parameters(), lr=0.0)
