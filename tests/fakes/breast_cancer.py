"""scikit-learn's breast cancer table as columns, and what the example's design code makes of it (side: library).

The table comes with scikit-learn: 569 rows of 30 measurements, 0 malignant, 1 benign.
"""

import importlib.util
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from common.bundle import COMPONENT_FILE, DESCRIPTION_FILE, BundleContents, BundleManifest, design_layout
from tests.fakes.wasm_components import answering, component

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "providers" / "tabular_mlp"
HELD_OUT: Final = 169


def table() -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Columns to train on, columns held out."""
    rows, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(rows))
    columns = {"features": rows[order].astype(np.float32), "label": labels[order].astype(np.int64)}
    parts = slice(HELD_OUT, None), slice(None, HELD_OUT)
    train, held = ({name: values[part] for name, values in columns.items()} for part in parts)
    return train, held


def example_design(rows: int) -> str:
    """The document that the example writes for so many rows, by plain Python."""
    specification = importlib.util.spec_from_file_location("tabular_mlp", EXAMPLE / "tabular_mlp.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    column = SimpleNamespace(shape=(30,), dtype="float32")
    profile = SimpleNamespace(columns=[column], answer=(2,), rows=rows, max_parameters=20_000)
    return json.dumps(module.TabularMlp().design(profile))


def small_component(rows: int) -> bytes:
    """A component that returns this design: to build the example takes CPython and ten seconds."""
    return component(design=answering(example_design(rows)))


def example_bundle(code: bytes) -> BundleContents:
    """The example's bundle with this component."""
    described = (EXAMPLE / DESCRIPTION_FILE).read_bytes()
    fields = tomllib.loads(described.decode())
    manifest = BundleManifest.model_validate_json(
        json.dumps(fields | {"layout": [one.model_dump() for one in design_layout(fields["max_parameters"])]})
    )
    return BundleContents(manifest=manifest, files={COMPONENT_FILE: code, DESCRIPTION_FILE: described})
