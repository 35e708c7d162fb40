"""Ours and another's requests a second in turns, on the same two cores (side: owner).

Both servers run all the time and one of them is asked at a time: A B A B. A figure is the ratio of the medians.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Final

import psutil

from bench.kill_victims import SERVING
from bench.serve_figures import Told, ratio_of_medians
from bench.serve_load import LoadGenerator, Run
from bench.serve_models import MODELS, ServedModel
from bench.serve_peers import PEERS, running
from bench.serve_scene import ServeScene
from bench.serve_twin import plain_twin
from deploy.embedded.stack import EmbeddedStack


def product_engine() -> str:
    """What the product's sandbox answers a graph with: OpenVINO where it knows it, eager torch in float32 else."""
    known = find_spec("common.sandboxed.openvino_engine") is not None and find_spec("openvino") is not None
    return "openvino" if known else "eager"


HALF: Final = 0.5
WARM_RUNS: Final = 5
FAILED_MOST: Final = 0.01


@dataclass(frozen=True)
class Turns:
    """How a row is measured: so many turns of each, of so many seconds, with so many users asking at once."""

    users: int = 32
    seconds: float = 8.0
    turns: int = 3
    warm_seconds: float = 3.0

    def run(self, turn: int = 0) -> Run:
        """One turn, closed."""
        return Run(self.users, self.seconds, seed=turn)

    def warm(self) -> Run:
        """Before the first one."""
        return Run(self.users, self.warm_seconds)


@dataclass(frozen=True)
class Pair:
    """A row: which model, against whom."""

    model: str
    against: str


PAIRS: Final = {
    "sealed_vs_plain": Pair("resnet20", "twin"),
    "sealed_vs_plain_150kb": Pair("null_150kb", "twin"),
    "vs_fastapi": Pair("resnet20", "fastapi"),
    "vs_litserve": Pair("resnet20", "litserve"),
    "vs_bentoml": Pair("resnet20", "bentoml"),
    "vs_torchserve": Pair("resnet20", "torchserve"),
    "vs_ray_serve": Pair("resnet20", "ray_serve"),
    "vs_fastapi_null": Pair("null", "fastapi"),
    "vs_fastapi_null_150kb": Pair("null_150kb", "fastapi"),
}


def figure_of(row: str, engine: str) -> str:
    """What a row's figure is called: bars against other frameworks are OpenVINO's; eager torch has its own names."""
    by_engine = PAIRS[row].against != "twin" and MODELS[PAIRS[row].model].computes
    return f"{row}_{engine}" if by_engine and engine != "openvino" else row


def measure_pair(scene: ServeScene, row: str, engine: str, turns: Turns) -> dict[str, Any]:
    """The figure, each turn of both, and our path's processor time. Raises `PeerMissingError`, `RuntimeError`."""
    pair = PAIRS[row]
    model = MODELS[pair.model]
    with (
        contender(scene, model, pair.against, turns.users, engine) as target,
        LoadGenerator(target) as theirs,
        LoadGenerator(scene.sealed(model, turns.users)) as ours,
    ):
        warm_up(theirs, turns)
        warm_up(ours, turns)
        meter, told = Meter(scene.stack), (list[Told](), list[Told]())
        for turn in range(turns.turns):
            with meter.running():
                told[0].append(ours.run(turns.run(turn)))
            told[1].append(theirs.run(turns.run(turn)))
    name = figure_of(row, engine)
    rates = [[one.rate for one in side] for side in told]
    require_answers(*told[0], *told[1])
    return {
        name: ratio_of_medians(*rates),
        f"{name}_turns": {
            "model": pair.model,
            "against": pair.against if pair.against == "twin" else PEERS[pair.against].version(),
            "ours": [asdict(one) for one in told[0]],
            "theirs": [asdict(one) for one in told[1]],
            "our_cpu_ms_per_answer": meter.per_answer(told[0]),
            "facts": ours.facts,
        },
    }


def warm_up(generator: LoadGenerator, turns: Turns) -> None:
    """Ask until it answers. Raises `RuntimeError` when it does not: a ratio would mean nothing."""
    for _ in range(WARM_RUNS):
        if generator.run(turns.warm()).answered:
            return
    raise RuntimeError("nothing was answered")


def require_answers(*told: Told) -> None:
    """Raise `RuntimeError` where more than `FAILED_MOST` of what was asked failed: a rate of the rest means nothing."""
    for one in told:
        if one.failed > FAILED_MOST * (one.answered + one.failed):
            raise RuntimeError(f"{one.failed} questions failed beside {one.answered} answers")


@contextlib.contextmanager
def contender(scene: ServeScene, model: ServedModel, against: str, users: int, engine: str) -> Iterator[dict[str, Any]]:
    """Whoever is measured beside us, running; the load generator's target."""
    if against == "twin":
        with plain_twin(scene, model) as twin:
            yield twin.target(users)
    else:
        bundle = scene.directory / model.name / "source"
        with running(PEERS[against], bundle, scene.rows(model), users, engine) as target:
            yield target


def measure_latency(scene: ServeScene, turns: Turns) -> dict[str, Any]:
    """`p99_over_p50` at half of the peak, paced; and what first contact costs a user."""
    with LoadGenerator(scene.sealed(MODELS["resnet20"], turns.users)) as ours:
        warm_up(ours, turns)
        peak = statistics.median(ours.run(turns.run(turn)).rate for turn in range(turns.turns))
        paced = [ours.run(Run(turns.users, turns.seconds, HALF * peak, turn)) for turn in range(turns.turns)]
        require_answers(*paced)
        ratios = [one.p99_ms / one.p50_ms for one in paced if one.p50_ms]
    return {
        "p99_over_p50": round(statistics.median(ratios), 2),
        "peak_per_second": round(peak, 1),
        "half_peak_turns": [asdict(one) for one in paced],
        "verify_client_ms": ours.facts["verify_client_ms"],
        "verify_client_again_ms": ours.facts["verify_client_again_ms"],
        "open_session_ms": ours.facts["open_session_ms"],
    }


class Meter:
    """Processor time of the processes that answer queries, over the blocks of `running`."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack, self._spent = stack, dict.fromkeys((one.name for one in SERVING), 0.0)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What is spent here counts."""
        before = self._now()
        yield
        for name, spent in self._now().items():
            self._spent[name] += sum(at - before[name].get(pid, 0.0) for pid, at in spent.items())

    def per_answer(self, told: list[Told]) -> dict[str, float]:
        """Milliseconds by process, and of the load generator."""
        answers = max(1, sum(one.answered for one in told))
        spent: Mapping[str, float] = {**self._spent, "load generator": sum(one.cpu_seconds for one in told)}
        return {name: round(1000 * seconds / answers, 3) for name, seconds in spent.items()}

    def _now(self) -> dict[str, dict[int, float]]:
        return of_each(self._stack, lambda one: float(sum(one.cpu_times()[:2])))


def of_each(stack: EmbeddedStack, figure: Callable[[psutil.Process], float]) -> dict[str, dict[int, float]]:
    """A figure of each process that answers queries, by kind and number."""
    status = stack.status()
    found: dict[str, dict[int, float]] = {}
    for kind in SERVING:
        found[kind.name] = {}
        for pid in kind.find(status):
            with contextlib.suppress(psutil.Error):
                found[kind.name][pid] = figure(psutil.Process(pid))
    return found
