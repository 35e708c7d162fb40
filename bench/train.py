"""`./cloister bench train`: what protection costs a training in pace, memory, processors and accuracy (side: owner).

Keys of the JSON file, with their bars in `LEAST` and `MOST`: `protected_ratio` (images a second of one protected
trainer over those of plain torch with the same toolchain), `vs_eager_fp32` (over what a user writes first),
`scaling_2` (two trainers over one; `plain_scaling_2`: two plain processes that exchange nothing over one), `vs_ddp`
(over torch's DistributedDataParallel with gloo), `memory_overhead` (peak resident bytes of a trainer enclave and its
sandbox together over a plain process's), `exchange_cpu_fraction` (all processors' time but the sandbox's, of all that a
job takes), `accuracy_gap_N` (bench/train_accuracy), `kills_survived` and `partition_survived` (bench/train_kills; the
bar is `kills`). `cpu_flags` are the flags by which the toolchain was chosen. Others on the machine move all paces: run
it alone.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import click

from bench.train_accuracy import Study, measure_accuracy
from bench.train_drawing import draw_scaling
from bench.train_kills import measure_kills
from bench.train_pace import Turns, measure_pace, measure_scaling
from common.exchange.toolchain import BF16_FLAGS, CPU_INFO, Toolchain, own_toolchain

LEAST: Final = {"protected_ratio": 0.92, "scaling_2": 1.80, "vs_ddp": 0.95}
EAGER: Final = {Toolchain.BF16: 1.5, Toolchain.FP32: 0.92}
"""`vs_eager_fp32` by the toolchain of this machine."""

MOST: Final = {
    "exchange_cpu_fraction": 0.05,
    "memory_overhead": 1.3,
    "accuracy_gap_2": 1.0,
    "accuracy_gap_4": 1.0,
    "accuracy_gap_8": 2.0,
}


def missed(figures: Mapping[str, Any], toolchain: Toolchain) -> list[str]:
    """Which bars these figures miss; one that was not measured is not missed."""
    least = LEAST | {"vs_eager_fp32": EAGER[toolchain]}
    least |= {"kills_survived": figures.get("kills", 0), "partition_survived": True}
    low = [name for name, bar in least.items() if figures.get(name, bar) < bar]
    return low + [name for name, bar in MOST.items() if figures.get(name, bar) > bar]


def cpu_flags() -> list[str]:
    """Of the flags that matter, those that this machine has."""
    return sorted(BF16_FLAGS & set(CPU_INFO.read_text().split()))


@click.command()
@click.option("--only", "parts", type=click.Choice(["pace", "scaling", "accuracy", "kills"]), multiple=True)
@click.option("--turns", default=Turns.turns, show_default=True, help="Of each pace; ratios are their medians.")
@click.option("--plain-rounds", default=Turns.plain_rounds, show_default=True, help="Of each plain process.")
@click.option("--rounds", default=Turns.rounds, show_default=True, help="Of each job.")
@click.option(
    "--data", type=click.Choice(["cifar10", "digits"]), default=Study.data, show_default=True, help="For accuracy."
)
@click.option("--images", default=Study.images, show_default=True, help="Of an epoch, for accuracy.")
@click.option("--epochs", default=Study.epochs, show_default=True, help="For accuracy.")
@click.option("--seeds", default=len(Study.seeds), show_default=True, help="For accuracy.")
@click.option("--ahead/--lockstep", default=True, show_default=True, help="As `owner train` has it, for accuracy.")
@click.option("--outer-rate", default=1.0, show_default=True, help="As `owner train` has it, for accuracy.")
@click.option("--outer-momentum", default=0.0, show_default=True, help="As `owner train` has it, for accuracy.")
@click.option("--kills", default=50, show_default=True, help="Processes that die in jobs that learn.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the scaling there.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def train(
    parts: tuple[str, ...],
    turns: int,
    rounds: int,
    plain_rounds: int,
    data: Literal["cifar10", "digits"],
    images: int,
    epochs: int,
    seeds: int,
    outer_rate: float,
    outer_momentum: float,
    kills: int,
    svg: Path | None,
    json_file: Path | None,
    *,
    ahead: bool,
) -> None:
    """Measure what protection costs a training. Ends with status 1 where a bar is missed."""
    measured_in = Turns(turns, rounds, plain_rounds)
    study = Study(
        data,
        images,
        epochs,
        tuple(range(1, seeds + 1)),
        rounds_ahead=int(ahead),
        outer_rate=outer_rate,
        outer_momentum=outer_momentum,
    )
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "pace": lambda: measure_pace(measured_in),
        "scaling": lambda: measure_scaling(measured_in),
        "accuracy": lambda: measure_accuracy(study),
        "kills": lambda: measure_kills(kills),
    }
    figures: dict[str, Any] = {"cpu_flags": cpu_flags()}
    for part in parts or measures:
        told = measures[part]()
        for name, value in told.items():
            click.echo(f"{name:>30}  {value}")
        figures |= told
    if svg is not None and "scaling_2" in figures:
        svg.write_text(draw_scaling(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if names := missed(figures, own_toolchain()):
        click.echo(f"missed: {', '.join(names)}", err=True)
        raise SystemExit(1)
