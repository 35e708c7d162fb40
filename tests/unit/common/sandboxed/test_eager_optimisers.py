"""common/sandboxed/eager_optimisers: torch's optimisers compute what they compute, and import no compiler for it."""

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from deploy.embedded.specification import CODE_ROOT

TRAINS: Final = """
import json, sys
import torch
from common.sandboxed.eager_optimisers import spare_compiler

KINDS = {"SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "Adam": {}, "AdamW": {}, "RMSprop": {}, "Adagrad": {}}
AS_THEY_ARE = {kind: vars(getattr(torch.optim, kind)).get("step") for kind in KINDS}

def trained(kind, **options):
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(7))
    optimiser = getattr(torch.optim, kind)([weight], **options)
    for step in range(5):
        optimiser.zero_grad()
        (weight * torch.randn(7)).square().sum().backward()
        optimiser.step()
        optimiser.load_state_dict(optimiser.state_dict())
        assert weight.requires_grad and weight.grad_fn is None
    return weight.detach().numpy().tobytes().hex()

def told():
    learned = {kind: trained(kind, **options) for kind, options in KINDS.items()}
    return learned, "torch._dynamo" in sys.modules

spare_compiler()
spared = told()
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item()
for kind, step in AS_THEY_ARE.items():
    if step is not None:
        getattr(torch.optim, kind).step = step
    elif "step" in vars(getattr(torch.optim, kind)):
        del getattr(torch.optim, kind).step
for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
    del getattr(torch.optim.Optimizer, name).__wrapped__.__dynamo_disable
print(json.dumps([spared, told(), compiled]))
"""


@pytest.fixture(scope="module")
def told() -> list[Any]:
    """In a process of its own, spared and then as torch is: the change is to torch."""
    command, environment = [sys.executable, "-P", "-c", TRAINS], {"PYTHONPATH": str(CODE_ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_what_is_learned_is_the_same_to_the_bit(told: list[Any]) -> None:
    spared, as_it_is, _ = told
    assert spared[0] == as_it_is[0]


def test_the_compiler_is_imported_for_whoever_compiles_alone(told: list[Any]) -> None:
    spared, as_it_is, compiled = told
    assert (spared[1], as_it_is[1], compiled) == (False, True, 1.0)
