"""Three times as many questions as can be answered: does memory stay bounded? (side: owner)"""

from dataclasses import asdict
from typing import Any, Final

from bench.serve_load import LoadGenerator, Run
from bench.serve_models import MODELS
from bench.serve_rows import Turns, of_each, warm_up
from bench.serve_scene import ServeScene

TIMES_PEAK: Final = 3.0
USERS: Final = 1024
"""Four times the front's backlog, so that it is full and refuses."""


def measure_overload(scene: ServeScene, turns: Turns, seconds: float) -> dict[str, Any]:
    """`overload_memory_growth`: resident bytes of all that answers queries, after `seconds` over before."""
    with LoadGenerator(scene.sealed(MODELS["resnet20_padded"], USERS)) as ours:
        warm_up(ours, turns)
        peak = ours.run(turns.run()).rate
        before = _resident(scene)
        told = ours.run(Run(USERS, seconds, TIMES_PEAK * peak))
        after = _resident(scene)
    return {
        "overload_memory_growth": round(sum(after.values()) / sum(before.values()), 3),
        "overload": {"peak_per_second": round(peak, 1), "told": asdict(told), "before": before, "after": after},
    }


def _resident(scene: ServeScene) -> dict[str, int]:
    found = of_each(scene.stack, lambda one: float(one.memory_info().rss))
    return {name: int(sum(of.values())) for name, of in found.items()}
