"""What the bench of training says of its figures, and that its plain processes do the same steps."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench.train import cpu_flags, missed
from bench.train_accuracy import Member, Study, Subject, accuracy, decay, exchanged
from bench.train_drawing import draw_scaling
from bench.train_scene import EXCHANGE, Pace, _Window
from bench.train_twins import EXAMPLE, Steps, plain_pace
from common.errors import UnavailableError
from common.exchange.toolchain import BF16_FLAGS, Toolchain, own_toolchain
from common.identifiers import JobId
from common.messages.order import ToolchainName
from common.messages.policy import JobReport
from tests.fakes.in_memory_job import ORDER


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "rows.npz", image=images, label=draw.integers(0, 10, 64))
    return tmp_path / "rows.npz"


def report(tick: int, done: int, delivered: tuple[int, ...], codes: tuple[str, ...] = ()) -> JobReport:
    return JobReport(
        job_id=JobId.of(ORDER), sequence=tick, tick=tick, total_ticks=900, round=done, loss=None, members_live=2,
        real_frames=0, dummy_frames=0, refused_frames=0, codes=codes, rounds_delivered=delivered, toolchain="fp32",
    )  # fmt: skip


def test_a_bar_is_missed_on_its_own_side_and_only_if_measured() -> None:
    assert missed({}, Toolchain.FP32) == []
    good = {"protected_ratio": 0.92, "vs_eager_fp32": 1.0, "exchange_cpu_fraction": 0.05, "accuracy_gap_8": -1.0}
    assert missed(good, Toolchain.FP32) == []
    assert missed(good, Toolchain.BF16) == ["vs_eager_fp32"]
    bad = {"scaling_2": 1.79, "vs_ddp": 0.94, "memory_overhead": 1.31, "accuracy_gap_2": 1.01}
    assert missed(bad, Toolchain.BF16) == list(bad)


def test_scaling_is_drawn_from_its_figures() -> None:
    figures = {
        "toolchain": "bf16", "images_per_second_plain_one": [500.0, 600.0], "images_per_second_plain_two": [1000.0],
        "images_per_second_ddp": [900.0], "images_per_second_one": [490.0], "images_per_second_two": [910.0],
    }  # fmt: skip
    heights = [float(one) for one in re.findall(r'<rect [^>]*height="([0-9.]+)"', draw_scaling(figures))]
    assert len(heights) == 5 + 3
    assert max(heights) == heights[1] == pytest.approx(220 / 1.1, abs=0.1)
    assert heights[0] == pytest.approx(0.55 * heights[1], abs=0.1), "the median of its turns"
    with pytest.raises(KeyError):
        draw_scaling({"toolchain": "bf16"})


def test_flags_are_those_of_the_toolchain() -> None:
    assert (set(cpu_flags()) == BF16_FLAGS) is (own_toolchain() is Toolchain.BF16)


def test_a_pace_is_the_slope_through_the_ends_of_rounds() -> None:
    """Rounds of 47 ticks, of which a report every 12 ticks tells."""
    window = _Window(10)
    for tick in range(0, 700, 12):
        if not window.complete:
            window.take(report(tick, tick // 47, (tick // 47,) * 2))
    assert (window.rounds, min(window.ends)) == (10, 2)
    assert window.ticks_per_round == pytest.approx(47, rel=0.03)
    window.require_sound(2)


@pytest.mark.parametrize(
    "last", [report(99, 3, (3, 2)), report(99, 3, (3, 3), ("provider.raised",)), report(99, 2, (2, 2))]
)
def test_a_pace_without_one_of_the_trainers_is_none(last: JobReport) -> None:
    window = _Window(1)
    window.take(report(50, 2, (2, 2)))
    window.take(last)
    with pytest.raises(UnavailableError):
        window.require_sound(2)


def test_the_exchange_is_all_but_the_sandbox() -> None:
    spent = {"trainer sandbox": 9.0} | dict.fromkeys(EXCHANGE, 0.125)
    assert Pace(1.0, 1.0, 100, 1, "fp32", spent, {}).exchange_cpu_fraction == 0.1


@pytest.mark.parametrize(("toolchain", "processes"), [("fp32", 1), ("bf16", 2)])
def test_plain_processes_train_alone_or_together(rows: Path, toolchain: ToolchainName, processes: int) -> None:
    meeting = rows.with_name("meet") if processes > 1 else None
    pace = plain_pace(rows, Steps(2, 8), toolchain, (0,) * processes, 1, meeting)
    assert pace.images_per_second > 0
    assert pace.peak_bytes > 100 << 20


def test_members_exchange_as_in_a_job(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one member and nothing but rounding between, the exchange is plain training; two have rows of their own."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    with np.load(rows) as file:
        columns = dict(file)
    subject = Subject(EXAMPLE, columns, columns, Steps(2, 8))
    assert not set(Member(subject, 1, 0, 2, 1)._rows.indices(0)) & set(Member(subject, 1, 1, 2, 1)._rows.indices(0))
    lockstep, ahead = (exchanged(subject, 2, 1, 1, Study(rounds_ahead=ahead), bf16=False) for ahead in (0, 1))
    both = [one.classifier.weight.detach().numpy() for one in (lockstep, ahead)]
    assert np.abs(both[0] - both[1]).max() < 0.02 * np.abs(both[0]).max()
    assert 0 <= accuracy(ahead, columns) <= 100


def test_the_rate_is_divided_by_ten_after_half_and_three_quarters_of_the_steps() -> None:
    import torch

    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    decay(optimizer, 8)
    rates = []
    for _ in range(8):
        weight.grad = torch.ones(1)
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 2 + [0.001] * 3)
