"""What sets a trainer's clock: when the first frame came, and a draw; not how soon it was read."""

from services.trainer_enclave.exchange import Heard
from services.trainer_enclave.running import PHASE_SECONDS, clock_behind
from tests.fakes.in_memory_job import InMemoryJob, make_schedule


def test_a_frame_counts_from_when_it_came() -> None:
    job = InMemoryJob(make_schedule())
    job.run(last=2)
    exchange, times = job.jobs[0].exchange, [7.0]
    exchange._now = lambda: times[-1]
    for frame in job.server.emit(3):
        exchange.receive(frame)
    times.append(99.0)
    assert exchange.listen() == Heard(3, 7.0)
    assert exchange.listen() is None


def test_a_clock_is_drawn_within_its_bound() -> None:
    for tick, most in ((10, 0.01), (200, PHASE_SECONDS)):
        schedule = make_schedule(tick_milliseconds=tick)
        phases = [clock_behind(schedule, Heard(5, 100.0)).due(5) - 100.0 for _ in range(500)]
        assert -1e-9 <= min(phases) < 0.05 * most
        assert 0.95 * most < max(phases) <= most + 1e-9
