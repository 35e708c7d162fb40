"""`./cloister bench gpu`: training on a GPU, protected and plain, and beside a protected processor (side: owner).

Keys of the JSON file, with their bars in `LEAST`: `gpu_protected_ratio` (images a second of a protected trainer on the
GPU over those of a plain process with the same steps, toolchain and settings; the job is that of bench/gpu_scene) and
`gpu_vs_tee_cpu` (the same over a protected trainer on a processor: one thread, float32). GPU jobs and plain processes
take turns, A B A B, and ratios are medians of the turns' ratios. ResNet-20 on real images of CIFAR-10.

Batches of the GPU's jobs are as large as it takes for kernels to be longer than what Python needs to launch them; the
processor's are those of `bench train`, since its pace hardly depends on them. Where there is no GPU the file says so in
`left_out`, and that misses no bar.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from bench import cifar10
from bench.gpu_scene import GpuJob, JobPace, on_gpu, plain_pace, protected_pace, rows_file
from bench.train_twins import Steps
from common.errors import ConfinementError
from common.exchange.toolchain import toolchain_of_gpu
from common.sandbox.gpu import Gpu, require_gpu
from common.sandbox.probe import require_confinement

LEAST: Final = {"gpu_protected_ratio": 0.90, "gpu_vs_tee_cpu": 161.0}

CPU_WORK: Final = Steps(4, 128)
CPU_ROUNDS: Final = 4
SECONDS_OF_A_ROUND: Final = 1.8
"""Of the GPU's, about: as long as the shortest ticks of a schedule leave an exchange time for."""

PROBING_STEPS: Final = 32
IMAGES: Final = 10_000


def missed(figures: dict[str, Any]) -> list[str]:
    """Which bars these figures miss; one that was not measured is not missed."""
    return [name for name, bar in LEAST.items() if figures.get(name, bar) < bar]


def why_not() -> str | None:
    """Why nothing can be measured here, in words; None if it can."""
    if (reason := cifar10.missing()) is not None:
        return reason
    try:
        require_confinement()
        require_gpu()
    except ConfinementError as refusal:
        return f"{refusal.code}: {refusal.seen}"
    return None


def measure(gpu: Gpu, batch: int, turns: int, rounds: int) -> dict[str, Any]:
    """All of it. Raises `UnavailableError` where a job did not do its rounds."""
    images, labels = cifar10.training_images(IMAGES)
    columns, mode = {"image": images, "label": labels}, toolchain_of_gpu(gpu.capability).word
    plain, jobs = list[float](), list[JobPace]()
    with tempfile.TemporaryDirectory(prefix="cloister-gpu-") as place:
        rows = rows_file(Path(place), columns)
        probed = plain_pace(rows, Steps(PROBING_STEPS, batch), mode, 1)
        step_seconds = batch / probed
        work = Steps(max(1, round(SECONDS_OF_A_ROUND / step_seconds)), batch)
        job = on_gpu(work, rounds, max(1, round(1000 * step_seconds)))
        for _ in range(turns):
            plain.append(plain_pace(rows, work, mode, rounds))
            jobs.append(protected_pace(columns, job))
            click.echo(f"plain {plain[-1]:.0f}, protected {jobs[-1].images_per_second:.0f} images a second in {mode}")
    cpu = protected_pace(columns, _cpu_job())
    paces = [one.images_per_second for one in jobs]
    return {
        "gpu": gpu.name,
        "gpu_protected_ratio": round(statistics.median(a / b for a, b in zip(paces, plain, strict=True)), 3),
        "gpu_vs_tee_cpu": round(statistics.median(paces) / cpu.images_per_second, 1),
        "toolchain": jobs[-1].toolchain,
        "batch": batch,
        "steps_per_round": work.steps,
        "rounds": rounds,
        "rounds_delivered": [one.delivered for one in jobs],
        "sandbox_share": [round(one.sandbox_share, 3) for one in jobs],
        "images_per_second_protected": [round(one) for one in paces],
        "images_per_second_plain": [round(one) for one in plain],
        "images_per_second_cpu_fp32": round(cpu.images_per_second, 1),
        "cpu_batch": CPU_WORK.batch,
    }


def _cpu_job() -> GpuJob:
    return GpuJob("cpu", "fp32", CPU_WORK, CPU_ROUNDS, step_milliseconds=1000)


@click.command()
@click.option("--batch", default=1024, show_default=True, help="Images of a step on the GPU.")
@click.option("--turns", default=2, show_default=True, help="Of plain process and job; ratios are their medians.")
@click.option("--rounds", default=8, show_default=True, help="That are measured of each.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def gpu(batch: int, turns: int, rounds: int, json_file: Path | None) -> None:
    """Measure what protection costs a training on a GPU. Ends with status 1 where a bar is missed."""
    reason = why_not()
    figures = {"left_out": reason} if reason is not None else measure(require_gpu(), batch, turns, rounds)
    for name, value in figures.items():
        click.echo(f"{name:>30}  {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if names := missed(figures):
        click.echo(f"missed: {', '.join(names)}", err=True)
        raise SystemExit(1)
