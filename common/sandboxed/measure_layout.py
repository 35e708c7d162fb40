"""Print the layout of a provider's model as JSON: what packing runs on the provider's own machine (side: sandbox).

Arguments: folder of the bundle, entry "module:Class". What provider code prints goes to stderr.
"""

import json
import os
import sys

from common.sandboxed.local_training import build_model
from common.sandboxed.model_state import buffers_of, layout_of


def main() -> None:
    """Build the model under seed 0 and describe its state; the layout may not depend on the seed."""
    _, _, folder, entry = sys.argv
    answer = os.dup(1)
    os.dup2(2, 1)
    sys.path.insert(0, folder)
    model = build_model(entry, seed=0)
    layout, buffers = layout_of(model), buffers_of(model)
    with os.fdopen(answer, "w") as out:
        json.dump([{"name": name, "shape": shape, "buffer": name in buffers} for name, shape in layout], out)
