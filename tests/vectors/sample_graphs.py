"""One fixed graph with every kind of node, one design of each kind, one change of each (side: library)."""

from pathlib import Path
from typing import Final

from common.messages.base import Message
from common.model_graph import design as d
from common.model_graph import nodes as n
from common.model_graph import parameters as p
from common.model_graph.graph import GraphInput, ModelGraph

_EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "providers" / "digits_design" / "design.json"


def _parameters() -> tuple[p.Parameter, ...]:
    shapes: list[tuple[str, tuple[int, ...], p.Initial, bool]] = [
        ("conv.weight", (4, 2, 3, 3), p.Kaiming(kind="kaiming_normal", fan="out"), True),
        ("norm.mean", (4,), p.Filled(kind="zeros"), False),
        ("norm.var", (4,), p.Filled(kind="ones"), False),
        ("group.weight", (4,), p.Constant(value=0.5), True),
        ("table", (9, 4), p.Normal(deviation=1.0), True),
        ("place", (4,), p.Stored(), False),
        ("mix", (4, 4), p.Xavier(kind="xavier_uniform"), True),
        ("out.weight", (3, 4), p.Kaiming(kind="kaiming_uniform"), True),
        ("out.bias", (3,), p.Uniform(bound=0.5), True),
    ]
    return tuple(p.Parameter(name=name, shape=s, initial=i, trained=t) for name, s, i, t in shapes)


EVERY_NODE: Final = ModelGraph(
    input=GraphInput(shape=(2, 6, 6), dtype="uint8"),
    parameters=_parameters(),
    nodes=(
        n.Affine(name="pixels", inputs=("input",), scale=(0.25, 0.5), shift=(-1.0, -2.0), axis=1),
        n.Pad(name="padded", inputs=("pixels",), amounts=((0, 0), (1, 1), (1, 1))),
        n.Conv2d(name="conv", inputs=("padded",), weight="conv.weight"),
        n.BatchNorm(name="norm", inputs=("conv",), running_mean="norm.mean", running_var="norm.var"),
        n.Pointwise(op="relu", name="relu", inputs=("norm",)),
        n.MaxPool2d(name="most", inputs=("relu",), kernel=(2, 2), stride=(2, 2)),
        n.AvgPool2d(name="middle", inputs=("relu",), kernel=(2, 2), stride=(2, 2)),
        n.Concat(name="both", inputs=("most", "middle"), axis=2),
        n.GroupNorm(name="group", inputs=("both",), groups=2, weight="group.weight"),
        n.AdaptiveAvgPool2d(name="small", inputs=("group",), size=(2, 2)),
        n.Flatten(name="flat", inputs=("small",), start_axis=2),
        n.Permute(name="words", inputs=("flat",), axes=(0, 2, 1)),
        n.Reshape(name="bytes", inputs=("input",), shape=(72,)),
        n.Slice(name="few", inputs=("bytes",), axis=1, begin=0, end=4),
        n.Embedding(name="found", inputs=("few",), weight="table"),
        n.OneHot(name="hot", inputs=("few",), classes=4),
        n.Elementwise(op="add", name="sum", inputs=("found", "hot")),
        n.Elementwise(op="mul", name="placed", inputs=("sum", "place")),
        n.LayerNorm(name="even", inputs=("placed",)),
        n.Matmul(name="mixed", inputs=("even", "mix")),
        n.Matmul(name="met", inputs=("mixed", "words")),
        n.Softmax(op="softmax", name="shares", inputs=("met",), axis=2),
        n.Gelu(name="bent", inputs=("shares",)),
        n.Dropout(name="dropped", inputs=("bent",), probability=0.1),
        n.Reduction(op="mean", name="mean", inputs=("dropped",), axes=(1,)),
        n.Linear(name="out", inputs=("mean",), weight="out.weight", bias="out.bias"),
    ),
    output="out",
)
"""Valid: every kind of node, every kind of initialiser."""

TRAINED: Final = d.Design.model_validate_json(_EXAMPLE.read_bytes())


def model_graphs() -> list[Message]:
    """Graphs, designs, changes."""
    adam = TRAINED.model_copy(
        update={
            "optimiser": d.Adam(kind="adamw", learning_rate=0.001, weight_decay=0.01),
            "schedule": d.CosineSchedule(steps=1000, warmup_steps=50),
            "loss": d.ElementLoss(kind="bce_with_logits"),
            "augmentation": (d.Flip(axis=2),),
            "batch_rows": 16,
            "gradient_clip": 1.0,
        }
    )
    steps = TRAINED.model_copy(update={"schedule": d.StepSchedule(every=100, factor=0.5)})
    return [
        EVERY_NODE,
        TRAINED,
        adam,
        steps,
        d.Change(action="continue", adjustment=d.Adjustment(learning_rate=0.1)),
        d.Change(action="stop"),
    ]
