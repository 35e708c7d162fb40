"""`design` v1: a graph, and how it is trained; `change` v1: what may differ from one round to the next (side: library).

Steps count over the whole job, from 0: a round's number times its steps. Normalising belongs to the graph (`affine`),
because answers need it as well; augmentation is for training alone, drawn under the enclave's seed.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.messages.base import Message
from common.model_graph.graph import ModelGraph
from common.model_graph.nodes import Axis

Rate = Annotated[float, Field(gt=0, le=100)]
Decay = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=1, le=1 << 31)]


class Sgd(Message):
    """torch.optim.SGD; weight decay on every trained parameter."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: Rate
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: Decay = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("Nesterov needs a momentum")
        return self


class Adam(Message):
    """torch.optim.Adam or AdamW; weight decay on every trained parameter."""

    kind: Literal["adam", "adamw"]
    learning_rate: Rate
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    epsilon: Annotated[float, Field(ge=1e-12, le=1)] = 1e-8
    weight_decay: Decay = 0.0


class ConstantSchedule(Message):
    """The learning rate stays; with a warm-up it first grows linearly, as in the other schedules."""

    kind: Literal["constant"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class CosineSchedule(Message):
    """Half a cosine from 1 down to `final_factor` within `steps` (warm-up not counted), which then stays."""

    kind: Literal["cosine"] = "cosine"
    steps: Steps
    final_factor: Share = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class StepSchedule(Message):
    """Times `factor` after each `every` steps (warm-up not counted)."""

    kind: Literal["step"] = "step"
    every: Steps
    factor: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class CrossEntropy(Message):
    """Labels are class numbers, one for each last axis of the output; torch's label smoothing."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ElementLoss(Message):
    """Labels of the output's shape, taken as float32; the mean over all."""

    kind: Literal["mse", "bce_with_logits"]


class RandomCrop(Message):
    """Padded with zeros by `padding` on the two axes (height, width), then cut to size at a place of each row's own."""

    kind: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=256)]
    axes: tuple[Axis, Axis]


class Flip(Message):
    """Each row is mirrored along `axis` with this probability: the width for a horizontal flip."""

    kind: Literal["flip"] = "flip"
    axis: Axis
    probability: Share = 0.5


Optimiser = Annotated[Sgd | Adam, Field(discriminator="kind")]
Schedule = Annotated[ConstantSchedule | CosineSchedule | StepSchedule, Field(discriminator="kind")]
Loss = Annotated[CrossEntropy | ElementLoss, Field(discriminator="kind")]
Augmentation = Annotated[RandomCrop | Flip, Field(discriminator="kind")]


class Design(Message):
    """The document. `batch_rows`: rows of one step, None: the order's. `gradient_clip`: largest norm of gradients."""

    type: Literal["design"] = "design"
    version: Literal[1] = 1
    graph: ModelGraph
    loss: Loss
    optimiser: Optimiser
    schedule: Schedule = ConstantSchedule()
    augmentation: Annotated[tuple[Augmentation, ...], Field(max_length=8)] = ()
    batch_rows: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None


class Adjustment(Message):
    """Factors on what the design says, from the next round on until another adjustment."""

    learning_rate: Annotated[float, Field(ge=2**-20, le=2**10)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=2**10)] = 1.0
    augmentation: Share = 1.0


class Change(Message):
    """What a design may answer after an epoch. `adjustment` None: as before. After `stop` nothing more is learned."""

    type: Literal["change"] = "change"
    version: Literal[1] = 1
    action: Literal["continue", "stop"]
    adjustment: Adjustment | None = None

    @model_validator(mode="after")
    def _stops_plainly(self) -> Self:
        if self.action == "stop" and self.adjustment is not None:
            raise ValueError("nothing is adjusted after a stop")
        return self
