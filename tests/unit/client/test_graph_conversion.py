"""client/graph_conversion: modules and ONNX files become graphs that answer as they do; what can't is refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from client.graph_conversion import Converted, convert_module, convert_onnx
from common.errors import FormatError
from common.model_graph.reading import parse_graph
from common.sandboxed.graph_model import GraphModel

ROOT = Path(__file__).resolve().parents[3]


class SmallCnn(nn.Module):
    """Strides, groups, norms of every kind, pools, a residual, in-place functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8), nn.SiLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, image: Tensor) -> Tensor:
        stem = functional.max_pool2d(self.stem(image), 2)
        mixed = torch.cat([stem + self.block(stem), stem], dim=1)[:, 4:12]
        logits: Tensor = self.head(functional.avg_pool2d(mixed, 2))
        return logits


class Mlp(nn.Module):
    """Integers to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(16, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 4)
        )

    def forward(self, row: Tensor) -> Tensor:
        return functional.log_softmax(self.layers(row.float().view(row.size(0), -1) / 8 - 1), dim=-1)


class TextModel(nn.Module):
    """A table, attention and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.places = nn.Parameter(torch.randn(6, 8))
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 2)

    def forward(self, words: Tensor) -> Tensor:
        seen = self.table(words) + self.places
        mixed = functional.scaled_dot_product_attention(self.query(seen), self.key(seen), self.value(seen))
        logits: Tensor = self.out(mixed.mean(1))
        return logits


class Residual(nn.Module):
    """He et al. 2015 (arXiv 1512.03385), section 4.2, with convolutions as shortcuts."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(given, made, 3, stride, 1, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(inplace=True),
            nn.Conv2d(made, made, 3, 1, 1, bias=False),
            nn.BatchNorm2d(made),
        )
        plain = given == made
        self.shortcut = nn.Identity() if plain else nn.Conv2d(given, made, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*(Residual(*one) for one in widths))
        self.out = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16)


def numbers() -> Tensor:
    return torch.randint(0, 17, (3, 4, 4), dtype=torch.uint8)


def words() -> Tensor:
    return torch.randint(0, 20, (3, 6))


CASES: list[tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = [
    (SmallCnn, images),
    (Mlp, numbers),
    (TextModel, words),
]


def prepared(make: Callable[[], nn.Module]) -> nn.Module:
    """With weights and statistics that are not trivial."""
    torch.manual_seed(3)
    module = make()
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.normal_(0, 0.4)
    return module.eval()


def largest_difference(module: nn.Module, converted: Converted, rows: Tensor) -> float:
    graph, _ = parse_graph(converted.graph.encode())
    model = GraphModel(json.loads(graph.encode())).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(torch.from_numpy(np.array(converted.weights[name])))
        return float((model(rows) - module(rows)).abs().max())


@pytest.mark.parametrize(("make", "rows"), CASES)
def test_a_module_and_its_graph_give_the_same_answers(
    make: Callable[[], nn.Module], rows: Callable[[], Tensor]
) -> None:
    module = prepared(make)
    assert largest_difference(module, convert_module(module, rows()), rows()) < 1e-5


@pytest.mark.parametrize(("make", "rows"), CASES[:2])
def test_an_onnx_file_and_its_graph_give_the_same_answers(
    make: Callable[[], nn.Module], rows: Callable[[], Tensor], tmp_path: Path
) -> None:
    module, path = prepared(make), tmp_path / "model.onnx"
    torch.onnx.export(
        module, (rows(),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "rows"}}, opset_version=20
    )
    assert largest_difference(module, convert_onnx(path), rows()) < 1e-5


def test_the_example_becomes_a_graph_whose_layers_and_dropout_are_its_own(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "examples/providers/digits_cnn"))
    try:
        from digits_cnn import DigitsCnn  # type: ignore[import-not-found]  # found through sys.path
    finally:
        sys.path.pop(0)
    module = DigitsCnn()
    converted = convert_module(module, torch.randint(0, 17, (2, 8, 8), dtype=torch.uint8))
    assert module.training
    assert [one.name for one in converted.graph.parameters] == list(module.state_dict())
    assert [node.probability for node in converted.graph.nodes if node.op == "dropout"] == [0.3]
    assert all(one.initial.kind in {"kaiming_uniform", "uniform"} for one in converted.graph.parameters)
    converted.write(tmp_path)
    assert parse_graph((tmp_path / "graph.json").read_bytes())[0] == converted.graph


def test_a_resnet_20_is_within_the_allow_list_and_the_bounds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, rows = ResNet20().eval(), torch.randn(2, 3, 32, 32)
    converted = convert_module(module, rows)
    assert largest_difference(module, converted, rows) < 1e-5
    assert converted.facts.trained_values == sum(one.numel() for one in module.parameters())
    assert len(converted.graph.encode()) < 1 << 16


def test_a_tensor_under_two_names_stays_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.other(self.one(x))
            return result

    graph = convert_module(Tied(), torch.randn(2, 4)).graph
    assert sorted(one.name.split(".")[1] for one in graph.parameters) == ["bias", "bias", "weight"]


class Counting(nn.Module):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x + self.seen


class Always(nn.BatchNorm1d):
    """Takes the statistics of the batch whatever mode it is in."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.running_mean, self.running_var, training=True)


def doing(function: Callable[[Tensor], Tensor]) -> nn.Module:
    class Doing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    return Doing()


HOSTILE: dict[str, tuple[nn.Module, str]] = {
    "a buffer that is written": (Counting(), "buffer `seen`"),
    "an input that is written": (doing(lambda x: x.add_(1)), "input `x`"),
    "cumsum over the batch": (doing(lambda x: x.cumsum(0)), "aten.cumsum"),
    "softmax over the batch": (doing(lambda x: x.softmax(0)), "an axis within the rows"),
    "mean over the batch": (doing(lambda x: x - x.mean(0, keepdim=True)), "an axis within the rows"),
    "mean over everything": (doing(lambda x: x - x.mean()), "an axis within the rows"),
    "sorting": (doing(lambda x: x.sort(0).values), "aten.sort"),
    "flip of the batch": (doing(lambda x: x.flip(0)), "aten.flip"),
    "concat along the batch": (doing(lambda x: torch.cat([x, x])), "an axis within the rows"),
    "transpose of the batch": (doing(lambda x: x.t() @ x), "the batch (0) first"),
    "reshape over rows": (doing(lambda x: x.reshape(-1)), "the batch axis first"),
    "half of the rows": (doing(lambda x: x[:1] + x), "all rows"),
    "norm of the batch": (Always(4), "buffer `running_mean`"),
    "norm without statistics": (nn.BatchNorm1d(4, track_running_stats=False), "evaluation mode"),
    "the number of rows": (doing(lambda x: x * x.shape[0]), "(aten.mul"),
    "random numbers": (doing(lambda x: x + torch.rand_like(x)), "aten.rand"),
    "arithmetic that wraps around": (doing(lambda x: (x.to(torch.uint8) * 2).float()), "to uint8"),
    "branches on data": (doing(lambda x: x if x.sum() > 0 else -x), "torch.export"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_modules_that_keep_or_mix_are_refused_with_the_place(name: str) -> None:
    module, said = HOSTILE[name]
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        convert_module(module, torch.randn(3, 4))
    assert said in f"{refusal.value.expected} | {refusal.value.seen}"


def test_arithmetic_of_integers_is_refused() -> None:
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        convert_module(doing(lambda x: (x * 2).float()), numbers())
    assert "float32 values" in str(refusal.value.expected)


def onnx_file(
    path: Path, *nodes: Any, rows: Any = "rows", constants: dict[str, Any] | None = None, opset: int = 20
) -> Path:
    """Over float32 rows of 4, with the last node's first output."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])
    made = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["rows", 4])
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "g", [given], [made], initializer=arrays)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()
    )
    return path


FLOATS, AXIS = np.ones(4, np.float32), np.array(0, np.int64)
NORM_INPUTS = {"s": FLOATS, "b": FLOATS, "m": FLOATS, "v": FLOATS}
HOSTILE_NODES: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "cumsum over the batch": ([helper.make_node("CumSum", ["x", "axis"], ["y"])], {"axis": AXIS}, "CumSum"),
    "softmax over the batch": ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}, "an axis within the rows"),
    "mean over the batch": (
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"])], {"axes": np.array([0])}, "an axis within the rows",
    ),
    "sum over everything": ([helper.make_node("ReduceSum", ["x"], ["y"])], {}, "an axis within the rows"),
    "concat along the batch": ([helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], {}, "an axis within the rows"),
    "transpose of the batch": ([helper.make_node("Transpose", ["x"], ["y"])], {}, "the batch (0) first"),
    "one shape for all rows": ([helper.make_node("Reshape", ["x", "s"], ["y"])], {"s": np.array([4, -1])}, "batch"),
    "flatten of the batch": ([helper.make_node("Flatten", ["x"], ["y"], axis=0)], {}, "an axis within the rows"),
    "rows by place": (
        [helper.make_node("Gather", ["x", "p"], ["y"], axis=0)], {"p": AXIS}, "an axis within the rows",
    ),
    "norm in training": (
        [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "n", "w"], training_mode=1)],
        NORM_INPUTS, "evaluation mode",
    ),
    "another domain": ([helper.make_node("Anything", ["x"], ["y"], domain="com.example")], {}, "domain"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NODES)
def test_onnx_nodes_that_keep_or_mix_are_refused_with_the_place(name: str, tmp_path: Path) -> None:
    nodes, constants, said = HOSTILE_NODES[name]
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        convert_onnx(onnx_file(tmp_path / "m.onnx", *nodes, constants=constants))
    assert said in f"{refusal.value.expected} | {refusal.value.seen}"


def test_onnx_files_that_are_none_or_reach_outside_are_refused(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    convert_onnx(onnx_file(tmp_path / "good.onnx", relu))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    onnx_file(tmp_path / "fixed.onnx", relu, rows=3)
    onnx_file(tmp_path / "old.onnx", relu, opset=12)
    model = onnx.load(tmp_path / "good.onnx")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    outside = numpy_helper.from_array(FLOATS, "outside")
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="secret")
    model.graph.initializer.append(outside)
    (tmp_path / "outside.onnx").write_bytes(model.SerializeToString())
    for name in ("bad", "empty", "fixed", "old", "outside"):
        with pytest.raises(FormatError, match=r"format\.design"):
            convert_onnx(tmp_path / f"{name}.onnx")
