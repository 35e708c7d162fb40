"""torch's optimisers without torch's compiler, whose import takes almost as long as torch's own (side: sandbox).

In torch 2.13 `zero_grad`, `step` and their like first import `torch._dynamo` (1.6 s of a processor, 70 MiB; the rest of
torch: 1.9 s), to tell it that no graph goes on past them (torch/_compile.py; torch/optim/optimizer.py,
`_use_grad_for_differentiable`). Where nothing is compiled that says nothing. What an optimiser computes stays as it is,
bit by bit. Whoever compiles all the same, or brings an optimiser that asks the compiler itself, has it imported then.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _use_grad_for_differentiable

_NEVER_TRACED: Final = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods under `torch._disable_dynamo`, which looks for `__dynamo_disable` before it imports the compiler."""

_BREAKS_GRAPHS: Final = _use_grad_for_differentiable(lambda: None).__code__
"""Of all steps that torch wraps so; LBFGS's and others' are not, and ask nobody."""


def spare_compiler() -> None:
    """For this process, before it makes an optimiser."""
    for name in _NEVER_TRACED:
        plain = getattr(Optimizer, name).__wrapped__
        vars(plain)["__dynamo_disable"] = plain
    kinds = [one for one in vars(torch.optim).values() if isinstance(one, type) and issubclass(one, Optimizer)]
    for kind in kinds:
        step: Any = vars(kind).get("step")
        if getattr(step, "__code__", None) is _BREAKS_GRAPHS:
            kind.step = _without_graph(step.__wrapped__)  # type: ignore[method-assign]


def _without_graph(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step as torch wraps it, but for the graph."""

    @functools.wraps(step)
    def run(self: Optimizer, *arguments: Any, **named: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *arguments, **named)

    return run
