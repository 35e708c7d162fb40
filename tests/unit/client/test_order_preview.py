"""What the host will see is told before anything is signed, with the channels that nothing bounds."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from client import events as e
from client import ordering
from client.rendering import Terminal
from client.scheduling import ScheduleWishes, plan_schedule
from common.identifiers import BundleId, DatasetId, Digest
from common.leakage import OPEN_CHANNELS, attempt_bits, report_bits, schedule_bits
from tests.vectors.sample_documents import POLICY

STATE_CLASS = 40_000


def test_it_comes_before_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = object()

    def signing(*_: Any) -> None:
        pytest.fail("an order was signed before it was shown")

    monkeypatch.setattr(
        ordering, "fetch_publication", lambda *_: SimpleNamespace(state_class=STATE_CLASS, sandbox="native")
    )
    monkeypatch.setattr(ordering, "fetch_sizes", lambda *_: [10])
    monkeypatch.setattr(ordering, "BrokerLink", lambda _: SimpleNamespace(verify=lambda *_: verified))
    monkeypatch.setattr(ordering, "make_order", signing)
    training = ordering.Training(DatasetId.of(Digest("1" * 64)), BundleId.of(Digest("2" * 64)), trainers=3,
                                 answer_timing="immediate", device="cuda")  # fmt: skip
    policy = SimpleNamespace(payload=POLICY.model_copy(update={"refusal_report": "classes"}).encode())
    party: Any = SimpleNamespace(document=lambda *_: policy)
    told = ordering.train(party, training)
    assert next(told) is verified
    shown = next(told)
    assert isinstance(shown, e.OrderPreview)
    schedule = plan_schedule(ScheduleWishes(), STATE_CLASS)
    assert (shown.schedule_bits, shown.attempt_bits) == (schedule_bits(schedule.total_ticks), attempt_bits(schedule))
    assert shown.report_bits == report_bits("classes")
    assert shown.open_channels == OPEN_CHANNELS
    sink = io.StringIO()
    terminal = Terminal(Console(file=sink, width=200, highlight=False))
    terminal.show(shown)
    terminal.close()
    assert f"{shown.schedule_bits} bits by its end" in sink.getvalue()
    assert f"told {shown.report_bits} bits at the job's end" in sink.getvalue()
    assert "leave when they are ready" in sink.getvalue()
    assert shown.device == "cuda"
    assert "in the clear" in sink.getvalue()
    assert all(name in sink.getvalue() for name in OPEN_CHANNELS)
