"""Graphs that native bundles export to: the honest one of a least-squares model, and lies about it (side: library)."""

import json
from typing import Any

from common.bundle import BundleManifest


def linear_graph(bundle: BundleManifest) -> dict[str, Any]:
    """The sum of a row's first values, each times one of the first tensor's; other tensors are not read."""
    parameters = [_stored(bundle.layout[0].name, list(bundle.layout[0].shape))]
    return {
        "type": "model-graph",
        "version": 1,
        "input": {"shape": list(bundle.input.shape), "dtype": bundle.input.dtype},
        "parameters": parameters,
        "nodes": [
            {"op": "slice", "name": "part", "inputs": ["input"], "axis": 1, "begin": 0, "end": bundle.layout[0].count},
            {"op": "mul", "name": "product", "inputs": ["part", parameters[0]["name"]]},
            {"op": "sum", "name": "total", "inputs": ["product"], "axes": [1]},
        ],
        "output": "total",
    }


def _stored(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "initial": {"kind": "stored"}, "trained": False}


def lies(bundle: BundleManifest) -> dict[str, bytes]:
    """Documents that are no graph of this bundle, by what is wrong with them."""
    honest = linear_graph(bundle)
    name, side = honest["parameters"][0]["name"], honest["input"]["shape"][0]
    many = [{"op": "relu", "name": f"n{at}", "inputs": ["input" if at == 0 else f"n{at - 1}"]} for at in range(5000)]
    wide = {"op": "pad", "name": "wide", "inputs": ["product"], "amounts": [[4096, 4096]]}
    said: dict[str, Any] = {
        "nothing": {},
        "another type": honest | {"type": "design"},
        "another input": honest | {"input": {"shape": [side + 1], "dtype": "float32"}},
        "another dtype": honest | {"input": {"shape": [side], "dtype": "float64"}},
        "another output": honest | {"nodes": honest["nodes"][:2], "output": "product"},
        "a tensor of another name": json.loads(json.dumps(honest).replace(f'"{name}"', '"other"')),
        "a tensor of another shape": honest | {"parameters": [_stored(name, [1])]},
        "a tensor too many": honest | {"parameters": [*honest["parameters"], _stored("more", [2])]},
        "no tensors": honest | {"parameters": [], "nodes": [honest["nodes"][2] | {"inputs": ["input"]}]},
        "the mean of the batch": honest
        | {
            "nodes": [
                *honest["nodes"][:2],
                {"op": "mean", "name": "mixed", "inputs": ["product"], "axes": [0], "keep": True},
                honest["nodes"][2] | {"inputs": ["mixed"]},
            ]
        },
        "an operation of its own": honest
        | {"nodes": [{"op": "cumsum", "name": "total", "inputs": ["input"], "axis": 0}]},
        "too many nodes": honest | {"nodes": [*many, *honest["nodes"]]},
        "unbounded work": honest
        | {
            "nodes": [
                *honest["nodes"][:2],
                wide,
                {"op": "reshape", "name": "r", "inputs": ["wide"], "shape": [bundle.layout[0].count + 8192, 1]},
                {"op": "permute", "name": "p", "inputs": ["r"], "axes": [0, 2, 1]},
                {"op": "matmul", "name": "m0", "inputs": ["r", "p"]},
                *({"op": "matmul", "name": f"m{at}", "inputs": [f"m{at - 1}", f"m{at - 1}"]} for at in range(1, 20)),
                {"op": "sum", "name": "total", "inputs": ["m19"], "axes": [1, 2]},
            ]
        },
    }
    documents = {what: json.dumps(document).encode() for what, document in said.items()}
    return documents | {"deep": b"[" * 100_000, "no text": b"\xff" * 1000, "empty": b"", "numbers": b"9" * 100_000}
