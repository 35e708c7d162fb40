"""A job's toolchain: resolved once by what its members can, followed or refused by each, and never seen by the host."""

import pytest

from common.exchange.frames import FrameHeader
from common.exchange.toolchain import Toolchain, toolchain_of
from common.messages.order import ToolchainWish
from tests.fakes.in_memory_job import DelayedExecutor, InMemoryJob, LeastSquares, make_schedule

AMX = dict.fromkeys(range(3), Toolchain.BF16)


def trained_in_bf16(job: InMemoryJob) -> dict[int, set[bool]]:
    return {slot: {course.bf16 for course in sandbox.courses} for slot, sandbox in job.sandboxes.items()}


@pytest.mark.parametrize(
    ("able", "wish", "mode"),
    [({}, "auto", "fp32"), ({0: Toolchain.BF16}, "auto", "fp32"), (AMX, "auto", "bf16"), (AMX, "fp32", "fp32")],
)
def test_it_is_resolved_by_what_all_can_unless_ordered(
    able: dict[int, Toolchain], wish: ToolchainWish, mode: str
) -> None:
    job = InMemoryJob(make_schedule(), able=able, toolchain=wish)
    job.run()
    assert job.server.outcome() == "finished"
    assert (job.server.toolchain.mode.word, job.server.report(1, 9).toolchain) == (mode, mode)
    assert trained_in_bf16(job) == {0: {mode == "bf16"}, 1: {mode == "bf16"}}


def test_who_cannot_follow_an_order_says_so_and_trains_for_nothing() -> None:
    job = InMemoryJob(make_schedule(), able={0: Toolchain.BF16}, toolchain="bf16")
    job.run()
    assert job.server.outcome() == "finished"
    assert job.server.report(1, 9).codes == ("unavailable.toolchain",)
    assert job.server.members.rounds_delivered == {0: 6}
    assert trained_in_bf16(job) == {0: {True}, 1: {False}}


def test_who_joins_later_and_cannot_follow_is_refused_and_the_mode_stays() -> None:
    job = InMemoryJob(make_schedule(rounds=12), able=dict(AMX))
    job.run(last=20)
    done = job.server.rounds.rounds_done
    job.able[1], job.sandboxes[1] = Toolchain.FP32, LeastSquares()
    job.start_trainer(1, 2)
    job.publish_members()
    job.run(20)
    assert 0 < done < job.server.rounds.rounds_done == 12
    assert job.server.report(1, 9).codes == ("unavailable.toolchain",)
    assert job.server.toolchain.mode is Toolchain.BF16
    assert job.server.members.rounds_delivered[1] == done
    assert not any(course.bf16 for course in job.sandboxes[1].courses), "it works on, for nothing"


def test_one_that_is_never_heard_is_waited_for_until_the_warm_up_is_over() -> None:
    job = InMemoryJob(make_schedule(warmup_ticks=6), able=AMX, drop=lambda sender, _tick: sender == 1)
    job.run(last=6)
    assert (job.server.toolchain.mode, job.server.state_P) == (Toolchain.UNRESOLVED, None)
    assert job.server.report(1, 5).toolchain is None
    job.run(6)
    assert job.server.toolchain.mode is Toolchain.BF16
    assert job.server.rounds.rounds_done > 0


def test_neither_mode_nor_moment_depends_on_provider_code() -> None:
    """The manifest shows the mode to the host, even of a job in which no state ever came."""
    silent = InMemoryJob(make_schedule(), able=AMX, executors={slot: DelayedExecutor() for slot in (0, 1)})
    late = InMemoryJob(make_schedule(), able=AMX, drop=lambda sender, tick: sender == 1 and tick < 3)
    for job in (silent, late):
        job.run(last=4)
    assert silent.server.toolchain.mode is late.server.toolchain.mode is Toolchain.BF16
    silent.run(4)
    assert (silent.server.outcome(), silent.server.toolchain.mode) == ("failed", Toolchain.BF16)


def test_a_host_sees_the_same_in_either_mode() -> None:
    plain, fast, refused = InMemoryJob(make_schedule()), InMemoryJob(make_schedule(), able=AMX), InMemoryJob(
        make_schedule(), able={0: Toolchain.BF16}, toolchain="bf16"
    )  # fmt: skip
    for job in (plain, fast, refused):
        job.run()
    assert plain.trace == fast.trace == refused.trace
    assert {FrameHeader.parse(frame).encode() for _, frame in plain.frames} == {
        FrameHeader.parse(frame).encode() for _, frame in fast.frames
    }


def test_a_state_of_no_mode_is_not_taken() -> None:
    job = InMemoryJob(make_schedule())
    job.run(last=20)
    job.server.toolchain.mode = Toolchain.UNRESOLVED
    held, refused = job.jobs[0].exchange.state, job.jobs[0].exchange.refused_frames
    assert held is not None
    job.server._send_state(20)
    for tick in range(20, 24):
        for frame in job.server.emit(tick):
            job.jobs[0].exchange.receive(frame)
        job.jobs[0].exchange.listen()
    assert job.jobs[0].exchange.refused_frames == refused + 1
    assert job.jobs[0].exchange.state is held


FLAGS = "flags\t\t: fpu sse2 {}\n"


@pytest.mark.parametrize(
    ("cpu_info", "mode"),
    [
        (2 * ("processor\t: 0\n" + FLAGS.format("amx_bf16 avx512f amx_tile amx_int8")), Toolchain.BF16),
        (FLAGS.format("amx_bf16 amx_tile") + FLAGS.format("avx512_bf16"), Toolchain.FP32),
        (FLAGS.format("amx_bf16"), Toolchain.FP32),
        (FLAGS.format("not_amx_bf16 amx_tile_"), Toolchain.FP32),
        ("", Toolchain.FP32),
    ],
)
def test_what_a_processor_can(cpu_info: str, mode: Toolchain) -> None:
    assert toolchain_of(cpu_info) is mode
