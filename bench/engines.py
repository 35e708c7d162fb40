"""`./cloister bench engines`: rows a second of each engine on residual networks (side: owner).

Engines are called in turn, in this process, A B C A B C ..., so that a machine that slows down slows all of them; each
figure is the median of its runs. int8 is calibrated on the rows that are measured: its speed does not depend on them.
What it costs in accuracy is measured by bench/int8_accuracy.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from bench.int8_accuracy import measure_accuracy

BATCH: Final = 16
NETWORKS: Final = ("resnet50", "resnet20")
PAIRS: Final = {"int8_vs_fp32": "openvino_fp32", "int8_vs_bf16": "openvino_bf16", "int8_vs_eager": "eager"}


def measure(network: str, rounds: int, threads: int) -> dict[str, Any]:
    """Rows a second in batches of one and of `BATCH`, and the ratios at `BATCH`."""
    import torch

    from bench import resnet_graphs
    from common.sandboxed.engine_choice import random_rows
    from common.sandboxed.engine_report import EngineKind
    from common.sandboxed.engines import EagerEngine, Engine
    from common.sandboxed.openvino_engine import OpenVinoEngine
    from common.sandboxed.quantising import calibrate

    torch.set_num_threads(threads)
    document = getattr(resnet_graphs, network)()
    state_P, rows = resnet_graphs.random_state(document), random_rows(document, BATCH)
    eager = EagerEngine(document, state_P)
    engines: dict[str, Engine] = {"eager": eager}
    for kind in (EngineKind.OPENVINO_FP32, EngineKind.OPENVINO_BF16, EngineKind.OPENVINO_INT8):
        ranges = calibrate(document, eager, rows) if kind is EngineKind.OPENVINO_INT8 else None
        engines[kind.name.lower()] = OpenVinoEngine(kind, document, state_P, threads=threads, ranges=ranges)
    rates = {
        batch: medians({name: _answering(engine, rows[:batch]) for name, engine in engines.items()}, batch, rounds)
        for batch in (1, BATCH)
    }
    ratios = {key: rates[BATCH]["openvino_int8"] / rates[BATCH][other] for key, other in PAIRS.items()}
    return {"rows_per_second": rates, **{key: round(value, 2) for key, value in ratios.items()}}


def _answering(engine: Any, rows: Any) -> Callable[[], object]:
    return lambda: engine.answer(rows)


def medians(calls: Mapping[str, Callable[[], object]], batch: int, rounds: int) -> dict[str, float]:
    """Rows a second by name: each call warmed up, then `rounds` times in turn for at least `RUN_SECONDS`."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {}
    for name, call in calls.items():
        call()
        begin = time.perf_counter()
        call()
        repeats[name] = max(1, round(RUN_SECONDS / (time.perf_counter() - begin)))
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - begin) / repeats[name])
    return {name: round(batch / statistics.median(each), 1) for name, each in seconds.items()}


RUN_SECONDS: Final = 0.25

MOST_DROP_POINTS: Final = 0.5
"""The bar of `int8_drop_points`."""


@click.command()
@click.option("--network", "networks", multiple=True, type=click.Choice(NETWORKS), default=NETWORKS)
@click.option("--rounds", default=7, show_default=True, help="Runs of each engine, in turn.")
@click.option("--threads", default=1, show_default=True, help="That each engine computes with.")
@click.option("--accuracy", is_flag=True, help="Also train a ResNet-20 on CIFAR-10, and compare top-1 of int8.")
@click.option("--epochs", default=8, show_default=True, help="Of that training.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def engines(
    networks: tuple[str, ...], rounds: int, threads: int, *, accuracy: bool, epochs: int, file: Path | None
) -> None:
    """Measure eager torch against OpenVINO in fp32, bf16 and int8.

    Ends with status 1 where int8 costs more than its bar.
    """
    figures: dict[str, Any] = {"threads": threads, "batch": BATCH, "rounds": rounds}
    for network in networks:
        figures[network] = measure(network, rounds, threads)
        click.echo(f"{network}: {json.dumps(figures[network])}")
    if accuracy:
        figures["accuracy"] = measure_accuracy(epochs)
        click.echo(f"accuracy: {json.dumps(figures['accuracy'])}")
    if file is not None:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    if figures.get("accuracy", {}).get("int8_drop_points", 0.0) > MOST_DROP_POINTS:
        raise click.ClickException(f"int8_drop_points is above its bar of {MOST_DROP_POINTS}")
