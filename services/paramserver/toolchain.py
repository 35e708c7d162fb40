"""Which mode of the toolchain a job's members train in (side: enclave; ARCHITECTURE, decision 35).

The manifest names the mode, and the host reads the manifest. So provider code has no part in it: neither what is
resolved nor when depends on anything but the order, and which members the host lets be heard by when.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.exchange.toolchain import Toolchain
from common.messages.order import ToolchainWish


@dataclass
class ToolchainChoice:
    """One job's. `mode` is UNRESOLVED until every ordered trainer was heard, or the warm-up is over and one was."""

    wish: ToolchainWish
    trainers: int
    warmup_ticks: int
    mode: Toolchain = Toolchain.UNRESOLVED

    def look(self, tick: int, heard: Sequence[Toolchain]) -> None:
        """Resolve it once, by what the members heard so far can: bfloat16 if all can, unless the order says which."""
        if self.mode is not Toolchain.UNRESOLVED or not heard:
            return
        if len(heard) >= self.trainers or tick >= self.warmup_ticks:
            self.mode = self._wished or max(Toolchain.FP32, min(heard))

    @property
    def _wished(self) -> Toolchain | None:
        return None if self.wish == "auto" else Toolchain.named(self.wish)
