"""The state that a provider's model begins with, as `python -m bench.initial_state SOURCE ENTRY FILE` (side: owner).

In a process of its own, since providers' modules have the same names.
"""

import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Write float32[P] as an NPY file."""
    from common.sandboxed.local_training import build_model
    from common.sandboxed.model_state import flatten_state

    source, entry, file = sys.argv[1:]
    sys.path.insert(0, source)
    np.save(Path(file), flatten_state(build_model(entry, seed=3)))


if __name__ == "__main__":
    main()
