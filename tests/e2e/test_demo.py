"""`cloister demo`, the command itself: what it writes, shows and leaves. It kept the stack of all these tests."""

import pytest

from client.demo import TRAINERS, WISHES
from client.scheduling import host_view
from tests.e2e.conftest import DemoRun, Finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KEYS = {
    "wall_seconds",
    "accuracy_sealed",
    "accuracy_plain",
    "trainers",
    "trust_level",
    "quotes_verified",
    "real_frames",
    "dummy_frames",
    "ciphertext_bytes",
}


def test_the_sealed_model_is_as_good_as_a_plain_one(demo: DemoRun) -> None:
    assert demo.figures.keys() == KEYS
    assert demo.figures["accuracy_sealed"] >= 0.95
    assert abs(demo.figures["accuracy_sealed"] - demo.figures["accuracy_plain"]) <= 0.015
    assert demo.figures["trainers"] == TRAINERS
    assert demo.figures["wall_seconds"] > 0


def test_it_says_simulation_in_words_and_how_often_a_quote_was_verified(demo: DemoRun) -> None:
    assert demo.figures["trust_level"] == "simulation"
    assert "TRUST LEVEL: SIMULATION" in demo.output
    assert demo.figures["quotes_verified"] == demo.output.count("quote of the ") >= 6


def test_frames_are_counted_by_the_enclave(demo: DemoRun, finished: Finished) -> None:
    real, dummy = demo.figures["real_frames"], demo.figures["dummy_frames"]
    view = host_view(finished.order.schedule, finished.order.trainers)
    assert real > 3 * WISHES.rounds
    assert 0.7 * view.frames <= real + dummy <= view.frames


def test_each_host_service_has_counted_what_it_saw(demo: DemoRun, finished: Finished) -> None:
    seen = demo.figures["ciphertext_bytes"]
    assert seen.keys() == {"attestation", "ingest", "object_store", "rabbitmq", "redis", "query"}
    assert all(count > 0 for count in seen.values())
    frames, odd = divmod(seen["rabbitmq"], finished.order.schedule.frame_bytes)
    assert odd == 0
    assert frames >= demo.figures["real_frames"] + demo.figures["dummy_frames"]
    leaves = [path for path in (demo.directory / "digits.sealed").iterdir() if path.name.startswith("leaf-")]
    assert seen["object_store"] > sum(path.stat().st_size for path in leaves)
    assert seen["query"] >= seen["redis"], "the front passes on what it is given, and proofs besides"
    table = demo.output.replace(",", "")
    assert all(f"{count} bytes" in table for count in seen.values())
