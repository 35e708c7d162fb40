"""The same steps of training without any protection: what a protected trainer is measured against (side: owner).

    python -m bench.train_plain BUNDLE_DIRECTORY ENTRY ROWS.npz STEPS BATCH TOOLCHAIN CORE [RANK WORLD RENDEZVOUS]

`TOOLCHAIN` is fp32 or bf16 (common/sandboxed/local_training). It runs on one core with one thread. Each line on stdin
is one round; the answer is a line with its seconds, taken inside, its last loss, and the most memory so far in bytes.
With a rank it is one of WORLD processes of DistributedDataParallel over gloo, which average gradients at every step.
"""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Serve rounds until stdin ends."""
    bundle, entry, rows_file, steps, batch, toolchain, core, *distributed = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    import torch

    from common.sandboxed.local_training import build_model, put_channels_last, seed_everything, train_steps

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(bundle).resolve()))
    model: Any = build_model(entry, seed=1)
    optimizer = model.configure_optimizers()
    seed_everything(2)
    if toolchain == "bf16":
        put_channels_last(model)  # before buckets for its gradients are made
    if distributed:
        model = _together(model, *distributed)
    with np.load(rows_file) as file:
        rows = dict(file)
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        losses = train_steps(model, optimizer, rows, int(steps), int(batch), bf16=toolchain == "bf16")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        print(time.perf_counter() - begin, losses.last, peak, flush=True)


def _together(model: Any, rank: str, world: str, rendezvous: str) -> Any:
    """The module as one of `world`, with the methods that `train_steps` asks of a provider's."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    class Stepping(nn.Module):
        """DistributedDataParallel averages what its `forward` leads to."""

        def __init__(self) -> None:
            super().__init__()
            self.own = model

        def forward(self, batch: dict[str, Any]) -> Any:
            return self.own.training_step(batch)

    class Together(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spread = DistributedDataParallel(Stepping())

        def augment(self, batch: dict[str, Any]) -> Any:
            return model.augment(batch)

        def training_step(self, batch: dict[str, Any]) -> Any:
            return self.spread(batch)

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world)
    )
    return Together()


if __name__ == "__main__":
    main()
