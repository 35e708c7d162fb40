"""The plain twin: the same provider code and data in ordinary torch, for comparison (side: owner).

One process, one thread, no sandbox, no encryption, no exchange. Each step takes the rows that all trainers of the
sealed job take together, and there are as many steps as each of them makes, so both see the same number of rows.
It breaks what Cloister promises (provider's code meets owner's data in the clear), so only the demo and the benches
run it, in a process of its own:

    python -m client.plain_training BUNDLE_DIRECTORY TRAIN.npz TEST.npz STEPS BATCH SEED
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.events import PlainTwinTrained
from common.bundle import DESIGN_ENTRY, DESIGN_FILE, BundleDescription
from common.bundle_packing import read_bundle_directory
from common.errors import FormatError
from common.model_graph.reading import parse_design

Columns = dict[str, NDArray[Any]]
PLAIN_SECONDS = 600


def train_plain_twin(bundle: Path, train: Path, test: Path, *, steps: int, batch: int, seed: int) -> PlainTwinTrained:
    """Run the twin as a child process of low priority; raises `FormatError` (format.bundle) when it fails."""
    command = [
        sys.executable,
        "-m",
        "client.plain_training",
        str(bundle),
        str(train),
        str(test),
        str(steps),
        str(batch),
        str(seed),
    ]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, cwd=root, timeout=PLAIN_SECONDS, check=False)
    if done.returncode != 0:
        raise FormatError(
            "format.bundle",
            expected="provider code that trains in plain torch",
            seen=done.stderr.decode(errors="replace")[-400:],
        )
    return PlainTwinTrained.decode(done.stdout.splitlines()[-1])


def train_and_score(
    bundle: Path, train: Columns, test: Columns, *, steps: int, batch: int, seed: int
) -> PlainTwinTrained:
    """Train in this process and score the held-out rows."""
    import torch

    torch.set_num_threads(1)
    description, _ = read_bundle_directory(bundle)
    begun = time.monotonic()
    rows = _ordered_rows(train, description, steps * batch, seed)
    model, losses = _trained(bundle, description, rows, steps, batch, seed)
    model.eval()
    with torch.no_grad():
        scores = model(torch.from_numpy(test[description.input.column])).numpy()
    hits = scores.reshape(len(scores), -1).argmax(axis=1) == test[description.label.column]
    return PlainTwinTrained(
        accuracy=float(hits.mean()), loss=losses.last, rows=steps * batch, seconds=time.monotonic() - begun
    )


def _trained(
    bundle: Path, description: BundleDescription, rows: Columns, steps: int, batch: int, seed: int
) -> tuple[Any, Any]:
    """The model and its losses."""
    from common.sandboxed.design_training import Columns as Names
    from common.sandboxed.design_training import DesignTraining
    from common.sandboxed.local_training import build_model, train_steps

    if description.entry == DESIGN_ENTRY:
        design, _ = parse_design((bundle / DESIGN_FILE).read_bytes())
        names = Names(description.input.column, description.label.column)
        training = DesignTraining(design.model_dump(), names, seed, seed)
        return training.model, training.train(rows, steps, batch)
    sys.path.insert(0, str(bundle))
    model: Any = build_model(description.entry, seed)
    return model, train_steps(model, model.configure_optimizers(), rows, steps, batch)


def _ordered_rows(columns: Columns, description: BundleDescription, count: int, seed: int) -> Columns:
    """`count` rows, epoch after epoch, each in a fresh order."""
    names = (description.input.column, description.label.column)
    total = len(columns[names[0]])
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(total) for _ in range(-(-count // total))])[:count]
    return {name: columns[name][order] for name in names}


def _load(path: str) -> Columns:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def main() -> None:
    """Entry of the child process: prints one event."""
    bundle, train, test, steps, batch, seed = sys.argv[1:]
    event = train_and_score(
        Path(bundle).resolve(), _load(train), _load(test), steps=int(steps), batch=int(batch), seed=int(seed)
    )
    sys.stdout.write(event.encode().decode() + "\n")


if __name__ == "__main__":
    main()
