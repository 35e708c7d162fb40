"""The tensors of a graph's state, and how each begins (side: library).

Random numbers are drawn in the order of the document, under the enclave's seed. Fans are torch's: of a shape
(out, in, ...) the fan in is in x rest, the fan out is out x rest (torch.nn.init).
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.messages.base import Message

MAX_RANK: Final = 6
"""Most axes of a row or a parameter, the batch not counted."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")]
"""Of a node or parameter: one namespace, in which `input` is taken."""

Side = Annotated[int, Field(ge=1, le=1 << 24)]
Sides = Annotated[tuple[Side, ...], Field(max_length=MAX_RANK)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e9)]


class Filled(Message):
    """All zeros, or all ones."""

    kind: Literal["zeros", "ones"]


class Constant(Message):
    """One value everywhere."""

    kind: Literal["constant"] = "constant"
    value: Number


class Uniform(Message):
    """Uniform between -bound and bound."""

    kind: Literal["uniform"] = "uniform"
    bound: Positive


class Normal(Message):
    """Normal with mean 0 and this standard deviation."""

    kind: Literal["normal"] = "normal"
    deviation: Positive


class Kaiming(Message):
    """He et al. 2015 (arXiv 1502.01852): standard deviation gain / sqrt(fan); sqrt(2) is the gain of a ReLU."""

    kind: Literal["kaiming_uniform", "kaiming_normal"]
    fan: Literal["in", "out"] = "in"
    gain: Positive = 2**0.5


class Xavier(Message):
    """Glorot and Bengio 2010: standard deviation gain x sqrt(2 / (fan in + fan out))."""

    kind: Literal["xavier_uniform", "xavier_normal"]
    gain: Positive = 1.0


class Stored(Message):
    """Its value comes with the graph, as a tensor of safetensors: a design that trains from nothing can't have it."""

    kind: Literal["stored"] = "stored"


Initial = Annotated[Filled | Constant | Uniform | Normal | Kaiming | Xavier | Stored, Field(discriminator="kind")]


class Parameter(Message):
    """One float32 tensor of the state. Not `trained`: a constant, or a running statistic of one batch norm."""

    name: Name
    shape: Sides
    initial: Initial
    trained: bool = True

    @model_validator(mode="after")
    def _has_fans(self) -> Self:
        if isinstance(self.initial, Kaiming | Xavier) and len(self.shape) < 2:
            raise ValueError("fans need two axes or more")
        return self
