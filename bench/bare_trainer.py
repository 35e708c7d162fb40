"""The same rounds of training without a sandbox: what the sandbox's are measured against (side: owner).

    python -m bench.bare_trainer BUNDLE_DIRECTORY ENTRY ROWS.npz STEPS BATCH THREADS

Each line on stdin is one round; the answer is a line with its seconds, taken inside, and its last loss.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Serve rounds until stdin ends."""
    import torch

    from common.sandboxed.local_training import build_model, seed_everything, train_steps

    bundle, entry, rows_file, steps, batch, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    sys.path.insert(0, str(Path(bundle).resolve()))
    model: Any = build_model(entry, seed=1)
    optimizer = model.configure_optimizers()
    seed_everything(2)
    with np.load(rows_file) as file:
        rows = dict(file)
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        losses = train_steps(model, optimizer, rows, int(steps), int(batch))
        print(time.perf_counter() - begin, losses.last, flush=True)


if __name__ == "__main__":
    main()
