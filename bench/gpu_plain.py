"""The same steps of training on a GPU without any protection (side: owner).

    python -m bench.gpu_plain BUNDLE_DIRECTORY ENTRY ROWS.npz STEPS BATCH TOOLCHAIN

Everything about the GPU is as in a sandbox (common/sandboxed/gpu). A round takes rows of the file, again and again
where it has too few. Each line on stdin is one round; the answer is a line with its seconds, taken inside, and its
last loss.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from common.sandboxed.wire import CUDA


def main() -> None:
    """Serve rounds until stdin ends."""
    bundle, entry, rows_file, steps, batch, toolchain = sys.argv[1:]
    import torch

    from common.sandboxed.eager_optimisers import spare_compiler
    from common.sandboxed.gpu import open_gpu
    from common.sandboxed.local_training import build_model, seed_everything, train_steps

    torch.set_num_threads(1)
    spare_compiler()
    open_gpu()
    sys.path.insert(0, str(Path(bundle).resolve()))
    model: Any = build_model(entry, 1, CUDA)
    optimizer = model.configure_optimizers()
    seed_everything(2)
    with np.load(rows_file) as file:
        rows = {name: values[np.arange(int(steps) * int(batch)) % len(values)] for name, values in file.items()}
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        losses = train_steps(model, optimizer, rows, int(steps), int(batch), bf16=toolchain == "bf16", device=CUDA)
        print(time.perf_counter() - begin, losses.last, flush=True)


if __name__ == "__main__":
    main()
