"""`./cloister bench serve`: sealed models beside plain ones in other frameworks (side: owner).

Bars and keys stand in bench/serve_figures, rows in bench/serve_rows. One private stack serves all rows, with sandbox
rules and placement on; `settings` says so, and `left_out` what was not measured and why: it counts as not passed.
Others on the machine move all rates: run it alone.
"""

import functools
import json
import os
import platform
import secrets
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from bench.serve_figures import missed
from bench.serve_kills import measure_kills
from bench.serve_models import MODELS
from bench.serve_overload import measure_overload
from bench.serve_peers import BATCHING, WORKERS
from bench.serve_rows import PAIRS, Turns, figure_of, measure_latency, measure_pair, product_engine
from bench.serve_scene import ServeScene, served
from common.sandbox.probe import sandbox_walls

LATENCY, OVERLOAD, KILLS = "p99_over_p50", "overload_memory_growth", "queries_lost"
ROWS: Final = (*PAIRS, LATENCY, OVERLOAD, KILLS)

NOT_BUILT: Final = {"vs_fastapi_150kb": "no model of the ResNet-50 shape is served by this bench yet"}


def settings_of(engine: str, turns: Turns) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "engine": engine,
        "turns": turns.turns,
        "seconds": turns.seconds,
        "users": turns.users,
        "peer_workers": WORKERS,
        "peer_batching": BATCHING,
        "sandbox": sandbox_walls(),
        "placement": "verified by each user (client/query_verification)",
        "torch": version("torch"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg(),
    }


def engine_left_out(engine: str) -> dict[str, str]:
    """Figures whose engine this run does not have."""
    if engine == "openvino":
        return {"vs_litserve_eager": "the product answers with OpenVINO here"} | NOT_BUILT
    why = f"measured with the engine {engine}; the bar is OpenVINO's"
    return {row: why for row in PAIRS if figure_of(row, engine) != row} | NOT_BUILT


@click.command()
@click.option("--only", "rows", type=click.Choice(ROWS), multiple=True, help="These rows; else all.")
@click.option("--engine", type=click.Choice(["eager", "openvino"]), default=product_engine, help="In all. [as ours]")
@click.option("--users", default=Turns.users, show_default=True, help="Who ask at once.")
@click.option("--seconds", default=Turns.seconds, show_default=True, help="Of a turn.")
@click.option("--turns", default=Turns.turns, show_default=True, help="Of each side; ratios are of their medians.")
@click.option("--overload-seconds", default=600.0, show_default=True, help="At three times the peak.")
@click.option("--kills", default=100, show_default=True, help="Processes that die while users ask.")
@click.option("--seed", type=int, help="Of victims and moments; drawn when it is not given.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def serve(
    rows: tuple[str, ...],
    engine: str,
    users: int,
    seconds: float,
    turns: int,
    overload_seconds: float,
    kills: int,
    seed: int | None,
    json_file: Path | None,
) -> None:
    """Measure sealed serving beside plain serving. Ends with status 1 where a bar is missed or a row left out."""
    measured_in, chosen = Turns(users, seconds, turns), secrets.randbits(32) if seed is None else seed
    asked = rows or ROWS
    figures: dict[str, Any] = {"settings": settings_of(engine, measured_in)}
    left_out = {name: why for name, why in engine_left_out(engine).items() if not rows or name in rows}
    if engine != product_engine():
        asked, left_out = (), dict.fromkeys(asked, f"the product answers with {product_engine()} here")
    figures["left_out"] = left_out
    if asked:
        rows_of = functools.partial(_measure_of, engine=engine, turns=measured_in, kills=kills, seed=chosen)
        measure_rows({row: rows_of(row, overload_seconds=overload_seconds) for row in asked}, figures, json_file)
    _write(figures, json_file)
    _conclude(figures)


def measure_rows(
    rows: Mapping[str, Callable[[ServeScene], dict[str, Any]]], figures: dict[str, Any], json_file: Path | None
) -> None:
    """One row after the other on one stack; the file is written anew after each."""
    models = [MODELS[name] for name in dict.fromkeys(map(_model_of, rows))]
    with tempfile.TemporaryDirectory(prefix="cloister-serve-") as folder, served(Path(folder), models) as scene:
        for row, measure in rows.items():
            _measure(figures, row, functools.partial(measure, scene))
            figures["settings"]["load_average_after"] = os.getloadavg()
            _write(figures, json_file)


def _model_of(row: str) -> str:
    return PAIRS[row].model if row in PAIRS else "resnet20"


def _measure_of(
    row: str, engine: str, turns: Turns, overload_seconds: float, kills: int, seed: int
) -> Callable[[ServeScene], dict[str, Any]]:
    if row in PAIRS:
        return lambda scene: measure_pair(scene, row, engine, turns)
    if row == LATENCY:
        return lambda scene: measure_latency(scene, turns)
    if row == OVERLOAD:
        return lambda scene: measure_overload(scene, turns, overload_seconds)
    return lambda scene: measure_kills(scene, kills, seed)


def _measure(figures: dict[str, Any], row: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Whatever one row runs into, the others are due; it is left out, with the reason."""
    try:
        told = measure()
    except Exception as why:
        figures["left_out"][row] = f"{type(why).__name__}: {why}"
        click.echo(f"{row:>26}  left out: {why}")
        return
    for name, value in told.items():
        if not isinstance(value, dict | list):
            click.echo(f"{name:>26}  {value}")
    figures |= told


def _write(figures: dict[str, Any], json_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def _conclude(figures: dict[str, Any]) -> None:
    names = missed(figures)
    if names:
        click.echo(f"missed: {', '.join(names)}", err=True)
    if figures["left_out"]:
        click.echo(f"left out, not passed: {', '.join(figures['left_out'])}", err=True)
    if names or figures["left_out"]:
        raise SystemExit(1)
