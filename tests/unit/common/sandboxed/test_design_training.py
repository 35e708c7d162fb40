"""common/sandboxed: initialisers, optimisers, schedules, losses and augmentation are torch's, as a design says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

from client.plain_training import train_and_score
from common.model_graph import design as d
from common.model_graph import nodes as n
from common.model_graph import parameters as p
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.reading import check_design
from common.sandboxed.design_training import _AUGMENTATIONS, Columns, DesignTraining, rate_factor
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.wire import Course

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "providers" / "digits_design"
STEPS, BATCH = 6, 8


def mlp(loss: d.Loss, **more: Any) -> d.Design:
    """Two layers over rows of 5, three outputs; checked."""
    shapes: dict[str, tuple[int, ...]] = {"a.weight": (7, 5), "a.bias": (7,), "b.weight": (3, 7), "b.bias": (3,)}
    parameters = tuple(
        p.Parameter(
            name=name,
            shape=shape,
            initial=p.Kaiming(kind="kaiming_uniform") if len(shape) > 1 else p.Filled(kind="zeros"),
        )
        for name, shape in shapes.items()
    )
    nodes = (
        n.Linear(name="a", inputs=("input",), weight="a.weight", bias="a.bias"),
        n.Pointwise(op="tanh", name="t", inputs=("a",)),
        n.Linear(name="b", inputs=("t",), weight="b.weight", bias="b.bias"),
    )
    given = GraphInput(shape=(5,), dtype="float32")
    graph = ModelGraph(input=given, parameters=parameters, nodes=nodes, output="b")
    made = d.Design(graph=graph, loss=loss, **({"optimiser": d.Sgd(learning_rate=0.1)} | more))
    check_design(made)
    return made


def rows_for(design: d.Design) -> dict[str, NDArray[Any]]:
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(STEPS * BATCH, 5)).astype(np.float32)
    if design.loss.kind == "cross_entropy":
        return {"x": x, "y": numbers.integers(0, 3, STEPS * BATCH)}
    return {"x": x, "y": numbers.integers(0, 2, (STEPS * BATCH, 3)).astype(np.uint8)}


def training(design: d.Design, stream: int = 2) -> DesignTraining:
    return DesignTraining(json.loads(design.encode()), Columns("x", "y"), 1, stream)


class Plain(nn.Module):
    """What `mlp` says, by hand."""

    def __init__(self, like: GraphModel) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 7), nn.Linear(7, 3)
        self.load_state_dict({name: value.clone() for name, value in like.state_dict().items()})

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(torch.tanh(self.a(x)))
        return result


CROSS = d.CrossEntropy(label_smoothing=0.1)
BY_HAND: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda seen, y: functional.cross_entropy(seen, y, label_smoothing=0.1),
    "mse": lambda seen, y: functional.mse_loss(seen, y.float()),
    "bce_with_logits": lambda seen, y: functional.binary_cross_entropy_with_logits(seen, y.float()),
}
OPTIMISERS: list[tuple[d.Optimiser, type[torch.optim.Optimizer], dict[str, Any]]] = [
    (d.Sgd(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), torch.optim.SGD,
     {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (d.Adam(kind="adam", learning_rate=0.01, weight_decay=0.1), torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (d.Adam(kind="adamw", learning_rate=0.01, beta1=0.8, weight_decay=0.1), torch.optim.AdamW,
     {"lr": 0.01, "betas": (0.8, 0.999), "weight_decay": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("optimiser", "kind", "options"), OPTIMISERS)
@pytest.mark.parametrize("loss", [CROSS, d.ElementLoss(kind="mse"), d.ElementLoss(kind="bce_with_logits")])
def test_training_is_what_one_would_write_by_hand(
    loss: d.Loss, optimiser: d.Optimiser, kind: Any, options: dict[str, Any]
) -> None:
    schedule = d.CosineSchedule(steps=10, final_factor=0.1)
    design = mlp(loss, optimiser=optimiser, schedule=schedule, gradient_clip=0.5)
    trained, rows = training(design), rows_for(design)
    plain = Plain(trained.model)
    optimizer = kind(plain.parameters(), **options)
    rates = CosineAnnealingLR(optimizer, T_max=10, eta_min=0.1 * options["lr"])
    losses = []
    for number in range(STEPS):
        x, y = (torch.from_numpy(values[number * BATCH : (number + 1) * BATCH]) for values in rows.values())
        made = BY_HAND[loss.kind](plain(x), y)
        optimizer.zero_grad()
        made.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        rates.step()
        losses.append(made.item())
    seen = trained.train(rows, STEPS, BATCH)
    assert (seen.mean, seen.last) == pytest.approx((np.mean(losses), losses[-1]), rel=1e-5)
    for name, value in trained.model.state_dict().items():
        assert torch.allclose(value, plain.state_dict()[name], atol=1e-6)


def test_schedules_are_torchs() -> None:
    schedules: list[tuple[d.Schedule, Any]] = [
        (d.CosineSchedule(steps=20, final_factor=0.25), lambda one: CosineAnnealingLR(one, T_max=20, eta_min=0.25)),
        (d.StepSchedule(every=7, factor=0.5), lambda one: StepLR(one, 7, 0.5)),
        (d.ConstantSchedule(), lambda one: LinearLR(one, 1.0, 1.0)),
    ]
    for schedule, make in schedules:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        rates = make(optimizer)
        for step in range(20):
            assert rate_factor(schedule.model_dump(), step) == pytest.approx(optimizer.param_groups[0]["lr"])
            optimizer.step()
            rates.step()


def test_a_warm_up_grows_to_one_and_the_schedule_begins_behind_it() -> None:
    warmed = d.CosineSchedule(steps=10, warmup_steps=4).model_dump()
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    parts = [LinearLR(optimizer, 0.25, 1.0, total_iters=3), CosineAnnealingLR(optimizer, T_max=10)]
    rates = SequentialLR(optimizer, parts, milestones=[4])
    for step in range(14):
        assert rate_factor(warmed, step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        rates.step()
    assert rate_factor(warmed, 10**6) == pytest.approx(0.0)


def test_steps_of_a_design_cut_a_round_evenly_and_count_over_the_job() -> None:
    design = mlp(CROSS, batch_rows=10, schedule=d.StepSchedule(every=5, factor=0.5))
    trained, rows = training(design), rows_for(design)
    sizes: list[int] = []
    rates: list[float] = []
    step = trained._step

    def watched(inputs: Tensor, labels: Tensor, course: Course) -> Tensor | float:
        sizes.append(len(inputs))
        rates.append(trained._optimizer.param_groups[0]["lr"])
        return step(inputs, labels, course)

    trained._step = watched  # type: ignore[method-assign]  # looked at, not changed
    trained.train(rows, STEPS, BATCH, Course(0))
    trained.train(rows, STEPS, BATCH, Course(2))
    assert sizes == [10, 10, 10, 9, 9] * 2
    assert rates == pytest.approx([0.1] * 5 + [0.025] * 5)


def test_a_course_scales_rate_and_decay() -> None:
    design = mlp(CROSS, optimiser=d.Sgd(learning_rate=0.1, weight_decay=0.01))
    trained = training(design)
    trained.train(rows_for(design), STEPS, BATCH, Course(0, learning_rate=0.5, weight_decay=2.0))
    group = trained._optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == pytest.approx((0.05, 0.02))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool, torch.int64])
def test_a_crop_is_a_window_of_the_padded_row_on_any_two_axes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randint(1, 200, (40, 5, 6, 3)).to(dtype)  # (height, width, channels)
    cropped = _AUGMENTATIONS["random_crop"](x, {"padding": 2, "axes": [1, 2]}, 1.0)
    padded = functional.pad(x.long(), (0, 0, 2, 2, 2, 2))
    places = set()
    for row in range(len(x)):
        found = {
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(cropped[row].long(), padded[row, down : down + 5, right : right + 6])
        }
        assert found
        places |= found
    assert len(places) > 5
    assert torch.equal(_AUGMENTATIONS["random_crop"](x, {"padding": 2, "axes": [1, 2]}, 0.0), x)


def test_a_flip_mirrors_some_rows_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    x = torch.rand(200, 3, 4, 5)
    flipped = _AUGMENTATIONS["flip"](x, {"axis": 3, "probability": 0.5}, 1.0)
    turned = [torch.equal(flipped[row], x[row].flip(-1)) for row in range(len(x))]
    assert all(now or torch.equal(flipped[row], x[row]) for row, now in enumerate(turned))
    assert 70 < sum(turned) < 130
    assert torch.equal(_AUGMENTATIONS["flip"](x, {"axis": 3, "probability": 0.5}, 0.0), x)


def test_initialisers_are_torchs() -> None:
    def drawn(initial: p.Initial) -> Tensor:
        named = p.Parameter(name="w", shape=(6, 4, 3, 3), initial=initial)
        torch.manual_seed(5)
        return GraphModel({"parameters": [named.model_dump()], "nodes": [], "output": "w"}).state_dict()["w"]

    made: list[tuple[p.Initial, Any]] = [
        (p.Kaiming(kind="kaiming_uniform", gain=3**-0.5), lambda w: nn.init.kaiming_uniform_(w, a=5**0.5)),
        (p.Kaiming(kind="kaiming_normal", fan="out"), lambda w: nn.init.kaiming_normal_(w, mode="fan_out")),
        (p.Xavier(kind="xavier_uniform"), nn.init.xavier_uniform_),
        (p.Xavier(kind="xavier_normal", gain=2.0), lambda w: nn.init.xavier_normal_(w, gain=2.0)),
        (p.Normal(deviation=0.02), lambda w: nn.init.normal_(w, std=0.02)),
        (p.Uniform(bound=0.3), lambda w: nn.init.uniform_(w, -0.3, 0.3)),
        (p.Constant(value=2.5), lambda w: nn.init.constant_(w, 2.5)),
        (p.Filled(kind="ones"), nn.init.ones_),
        (p.Filled(kind="zeros"), nn.init.zeros_),
    ]
    for initial, expected in made:
        seen = drawn(initial)
        torch.manual_seed(5)
        assert torch.allclose(seen, expected(torch.empty(6, 4, 3, 3)), atol=1e-7), initial.kind


def test_the_plain_twin_trains_a_design_too() -> None:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images, labels = loaded.images.astype(np.uint8), loaded.target.astype(np.int64)
    train, test = ({"image": images[part], "label": labels[part]} for part in (slice(0, 1400), slice(1400, None)))
    done = train_and_score(EXAMPLE, train, test, steps=150, batch=32, seed=1)
    assert done.accuracy > 0.85
