"""Ours and another's requests a second in turns, on the same two cores (side: owner).

Both servers run all the time and one of them is asked at a time: A B A B. A figure is the ratio of the medians.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.kill_victims import SERVING
from bench.serve_builds import build_with
from bench.serve_figures import Told, ratio_of_medians
from bench.serve_load import LoadGenerator, Run
from bench.serve_models import MODELS, ServedModel
from bench.serve_peers import PEERS, running
from bench.serve_scene import ServeScene, served
from bench.serve_twin import plain_twin
from deploy.embedded.stack import EmbeddedStack

LATENCY: Final = "p99_over_p50"
HALF: Final = 0.5
WARM_RUNS: Final = 5
FAILED_MOST: Final = 0.01
CONTACTS: Final = 5


@dataclass(frozen=True)
class Turns:
    """How a row is measured: so many turns of each, of so many seconds, with so many users asking at once."""

    users: int = 32
    seconds: float = 6.0
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
    """A row: which model, against whom, computed by which engine (bench/serve_builds) in both."""

    model: str
    against: str
    engine: str = "bf16"


PAIRS: Final = {
    "sealed_vs_plain": Pair("resnet20", "twin"),
    "sealed_vs_plain_150kb": Pair("resnet50", "twin"),
    "sealed_vs_plain_padded": Pair("resnet20_padded", "twin"),
    "sealed_vs_plain_null": Pair("null", "twin"),
    "sealed_vs_plain_null_150kb": Pair("null_150kb", "twin"),
    "vs_fastapi": Pair("resnet20", "fastapi"),
    "vs_fastapi_padded": Pair("resnet20_padded", "fastapi"),
    "vs_litserve": Pair("resnet20", "litserve"),
    "vs_bentoml": Pair("resnet20", "bentoml"),
    "vs_torchserve": Pair("resnet20", "torchserve"),
    "vs_ray_serve": Pair("resnet20", "ray_serve"),
    "vs_fastapi_150kb": Pair("resnet50", "fastapi"),
    "vs_fastapi_null": Pair("null", "fastapi"),
    "vs_fastapi_null_150kb": Pair("null_150kb", "fastapi"),
    "vs_litserve_eager": Pair("resnet20", "litserve", "eager"),
}


def measure_pair(scene: ServeScene, row: str, turns: Turns) -> dict[str, Any]:
    """The figure, each turn of both, and our path's processor time. Raises `PeerMissingError`, `RuntimeError`."""
    pair = PAIRS[row]
    model = MODELS[pair.model]
    with (
        contender(scene, model, pair, turns.users) as target,
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
    require_answers(*told[0], *told[1])
    return {
        row: ratio_of_medians(*([one.rate for one in side] for side in told)),
        f"{row}_turns": {
            "model": pair.model,
            "engine": pair.engine,
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
def contender(scene: ServeScene, model: ServedModel, pair: Pair, users: int) -> Iterator[dict[str, Any]]:
    """Whoever is measured beside us, running; the load generator's target."""
    if pair.against == "twin":
        with plain_twin(scene, model) as twin:
            yield twin.target(users)
    else:
        bundle = scene.directory / model.name / "source"
        with running(PEERS[pair.against], bundle, scene.rows(model), users, pair.engine) as target:
            yield target


def measure_int8(folder: Path, turns: Turns) -> dict[str, Any]:
    """`int8_pipeline_vs_fp32`: a ResNet-50 through the whole sealed path, on a stack that answers with each engine."""
    model = MODELS["resnet50"]
    with contextlib.ExitStack() as open_:
        asked = []
        for engine in ("int8", "fp32"):
            build = build_with(engine, folder / f"build-{engine}")
            scene = open_.enter_context(served(folder / engine, [model], build))
            asked.append(open_.enter_context(LoadGenerator(scene.sealed(model, turns.users))))
        for one in asked:
            warm_up(one, turns)
        told = [[one.run(turns.run(turn)) for one in asked] for turn in range(turns.turns)]
    int8, fp32 = zip(*told, strict=True)
    require_answers(*int8, *fp32)
    return {
        "int8_pipeline_vs_fp32": ratio_of_medians([one.rate for one in int8], [one.rate for one in fp32]),
        "int8_pipeline_turns": {name: list(map(asdict, side)) for name, side in (("int8", int8), ("fp32", fp32))},
    }


def measure_latency(scene: ServeScene, turns: Turns, model: str = "resnet20") -> dict[str, Any]:
    """`p99_over_p50` at half of the peak, paced."""
    with LoadGenerator(scene.sealed(MODELS[model], turns.users)) as ours:
        warm_up(ours, turns)
        peak = statistics.median(ours.run(turns.run(turn)).rate for turn in range(turns.turns))
        paced = [ours.run(Run(turns.users, turns.seconds, HALF * peak, turn)) for turn in range(turns.turns)]
    require_answers(*paced)
    name = LATENCY if model == "resnet20" else f"{LATENCY}_padded"
    return {
        name: round(statistics.median(one.p99_ms / one.p50_ms for one in paced if one.p50_ms), 2),
        f"{name}_turns": {"peak_per_second": round(peak, 1), "half_peak": [asdict(one) for one in paced]},
    }


def first_contacts(scene: ServeScene) -> dict[str, Any]:
    """Of users whose process has just imported the client, each in one of its own; the median of them."""
    facts = []
    for _ in range(CONTACTS):
        with LoadGenerator(scene.sealed(MODELS["resnet20"], 1)) as one:
            facts.append(one.facts)
    names = ("verify_client_ms", "verify_client_again_ms", "open_session_ms")
    return {name: statistics.median(one[name] for one in facts) for name in names}


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
