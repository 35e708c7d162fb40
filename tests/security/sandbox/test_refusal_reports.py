"""Promise: of the calls that its code was refused in a job, a provider learns classes and levels, if all owners let it.

It is told 13 bits at most, whatever its code does; nobody else reads them, and no host sees whether there are any.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest

from client.provider_reports import open_provider_report
from common.bundle import DESCRIPTION_FILE, BundleContents
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey, wrap
from common.errors import AuthenticityError, Refusal
from common.identifiers import JobId
from common.key_binding import provider_report_info, report_info
from common.leakage import report_bits
from common.messages.jobs import Members
from common.messages.provider_report import LEARNED, ProviderReport, RefusedCallsTold
from common.messages.signed import sign
from common.messages.training_door import JobEnded
from common.refused_calls import CHOICES, CLASSES, NONE_REFUSED, RefusedCalls
from common.sandbox.native import NativeTrainingSandbox
from services.trainer_enclave.provider_work import Starts
from tests.fakes.in_memory_job import FEATURES, InMemoryJob, LeastSquares, make_schedule
from tests.fakes.training_world import FixedExport, TrainingWorld, small_bundle
from tests.security.sandbox.sandbox_parts import LIMITS, SEEDS, SLOTS, hostile_bundle
from tests.security.test_frames_shape import visible

ALL_MANY: Final = RefusedCalls((2,) * len(CLASSES))
DEEDS: Final = ("reach out", "forge")

CURIOUS: Final = """
import ctypes, os, sys
import torch
from torch import nn

libc = ctypes.CDLL(None, use_errno=True)

def reach_out():
    tried = [lambda: os.chmod(__file__, 0o600), os.fork, lambda: os.posix_spawn("/bin/true", ["true"], {})]
    tried += [lambda: raw(272, 0), lambda: raw(101, 0, 0, 0, 0), lambda: raw(319, b"x", 0), lambda: raw(99, 0)]
    refused = 0
    for attempt in [*tried, *[lambda: raw(41, 2, 1, 0)] * 12]:
        try:
            attempt()
        except PermissionError:
            refused += 1
    return refused + (os.system("true") != 0)

def raw(*arguments):
    if libc.syscall(*arguments) == -1 and ctypes.get_errno() == 1:
        raise PermissionError

def forge():
    frame = sys._getframe()
    while "windows" not in frame.f_locals:
        frame = frame.f_back
    frame.f_locals["windows"]._output[:4096] = b"\\xff" * 4096
    return 0

class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        self.report = nn.Parameter(torch.zeros(64))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def training_step(self, batch):
        refused = (reach_out, forge)[int(batch["x"][0, 0])]()
        with torch.no_grad():
            self.report[0] = refused
        return self.report.sum()

    def forward(self, x):
        return x
"""
REFUSED: Final = 3 + 4 + 12 + 1


def deed(sandbox: NativeTrainingSandbox, name: str) -> float:
    rows = {"x": np.array([[DEEDS.index(name), 0]]), "y": np.array([0])}
    outcome = sandbox.run_round(np.zeros(SLOTS, np.float32), rows, 1, 1, 30.0)
    assert outcome.state_P is not None, outcome.code
    return float(outcome.state_P[0])


@pytest.fixture(params=[True, False], ids=["counted", "not counted"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[NativeTrainingSandbox]:
    contents = hostile_bundle(hostile=CURIOUS)
    started = NativeTrainingSandbox.start(
        contents, rows_per_round=1, seeds=SEEDS, limits=LIMITS, counts_refused=request.param
    )
    yield started
    started.close()


def test_code_is_refused_all_the_same_and_can_claim_anything_but_say_no_more(sandbox: NativeTrainingSandbox) -> None:
    """Starting processes kills no child that counts, though C libraries do it with all signals blocked."""
    counted = sandbox._place.counts_refused
    assert deed(sandbox, "reach out") == REFUSED
    words = sandbox.refused_calls.words
    assert {name for name, level in words.items() if level != "none"} == (set(CLASSES) if counted else set())
    assert words["network"] == ("many" if counted else "none")
    assert words["processes"] == ("some" if counted else "none")
    deed(sandbox, "forge")
    assert sandbox.refused_calls == (ALL_MANY if counted else NONE_REFUSED)


def test_whatever_a_child_writes_is_one_of_so_many_choices() -> None:
    said = {RefusedCalls.of_counts(bytes(raw)) for raw in itertools.product((0, 1, 9, 10, 255), repeat=len(CLASSES))}
    said |= {RefusedCalls.of_counts(raw) for raw in (b"", b"\xff" * 64, bytes(32))}
    assert len(said) == CHOICES
    assert {one.number for one in said} == set(range(CHOICES))
    assert all(RefusedCalls.of_number(one.number) == one for one in said)
    assert CHOICES * len(LEARNED) <= 2 ** report_bits("classes") < 2 * CHOICES * len(LEARNED)
    assert tuple(RefusedCallsTold.model_fields) == CLASSES


@pytest.mark.parametrize("number", [-1, CHOICES, 0xFFFF])
def test_a_number_that_is_none_of_them_is_refused(number: int) -> None:
    with pytest.raises(Refusal, match="format.frame"):
        RefusedCalls.of_number(number)


@pytest.mark.parametrize("fails_in", [None, 3])
def test_frames_are_the_same_whatever_was_refused(fails_in: int | None) -> None:
    jobs = []
    for refused in (NONE_REFUSED, ALL_MANY):
        sandboxes = {slot: LeastSquares(fails_in=fails_in, refused_calls=refused) for slot in range(2)}
        jobs.append(InMemoryJob(make_schedule(), sandboxes=sandboxes))
        jobs[-1].run()
        assert jobs[-1].server.refused_calls == refused
    assert visible(jobs[0]) == visible(jobs[1])


def test_members_say_together_what_each_was_refused() -> None:
    said = {0: RefusedCalls((1, 0, 2, 0, 0, 0, 0)), 1: RefusedCalls((2, 0, 1, 0, 0, 0, 1))}
    job = InMemoryJob(make_schedule(), sandboxes={slot: LeastSquares(refused_calls=one) for slot, one in said.items()})
    job.run()
    assert job.server.refused_calls == RefusedCalls((2, 0, 2, 0, 0, 0, 1))


def world_of(directory: Path, **changes: Any) -> TrainingWorld:
    schedule = make_schedule(rounds=2, tick_milliseconds=40, warmup_ticks=20, slack_percent=200)
    return TrainingWorld(directory, schedule, **changes)


def opened(world: TrainingWorld, ended: JobEnded, **changes: Any) -> ProviderReport:
    """What `provider`, with `report_key`, reads of the job's end."""
    given: dict[str, Any] = {"provider": world.provider, "report_key": world.provider_report_key} | changes
    identity = SimpleNamespace(signing_key=given["provider"], report_key=given["report_key"])
    party: Any = SimpleNamespace(identity=identity)
    job_id = given.get("job_id", world.job_id)
    members = Members(job_id=job_id, state="finished", members=tuple(world.members.values()))
    named = next(iter(world.running.values()))._order.bundle
    return open_provider_report(party, members, named, given.get("sealed", ended.provider_report or b""))


def test_a_host_can_not_tell_whether_a_report_tells_anything(tmp_path: Path) -> None:
    seen = {}
    for report, refused in (("none", ALL_MANY), ("classes", NONE_REFUSED), ("classes", ALL_MANY)):
        world = world_of(tmp_path / f"{report}-{refused.number}", refusal_report=report)
        world.sandboxes = {slot: LeastSquares(refused_calls=refused) for slot in range(world.trainers)}
        ended = world.run()
        assert ended.provider_report is not None
        leaves = sorted(len(leaf) for leaf in world.store.leaves.values())
        seen[report, refused] = (
            ended.outcome, ended.code, ended.provider == world.provider.party, len(ended.encode()),
            len(ended.provider_report), len(world.reports), {len(one.sealed) for one in world.reports},
            set(world.frames), leaves,
        )  # fmt: skip
        told, owners = opened(world, ended).told, world.read_reports()
        assert owners[-1].told_provider == told
        assert all(one.told_provider is None for one in owners[:-1])
        if report == "none":
            assert told is None
        else:
            assert told is not None
            assert told.learned == owners[-1].outcome
            assert dict(told.refused) == refused.words
    first, *others = seen.values()
    assert all(one == first for one in others)


def test_nobody_else_reads_it_and_no_host_makes_one(tmp_path: Path) -> None:
    world = world_of(tmp_path, refusal_report="classes", trainers=1)
    ended = world.run()
    assert opened(world, ended).outcome == "finished"
    stranger, own_info = SigningKey.generate(), provider_report_info(world.job_id, world.provider.party)
    report = opened(world, ended)
    forged = wrap(sign(report, stranger).encode(), world.provider_report_key.public, own_info)
    unsigned = wrap(report.encode(), world.provider_report_key.public, own_info)
    for changes in (
        {"report_key": WrappingKey.generate()},
        {"report_key": world.report_key},  # the owner's
        {"provider": stranger},
        {"job_id": JobId("job_" + "0" * 32)},
        {"sealed": forged},
        {"sealed": unsigned},
    ):
        with pytest.raises(Refusal, match=r"authenticity|format"):
            opened(world, ended, **changes)
    server = next(one for one in world.members.values() if one.role == "paramserver")
    assert server.signing_public != stranger.party
    assert ended.provider_report is not None
    with pytest.raises(AuthenticityError):  # nor is it a report to an owner
        world.provider_report_key.open(ended.provider_report, report_info(world.order.digest, world.provider.party, 0))


def test_a_provider_whose_report_key_is_none_ends_no_job(tmp_path: Path) -> None:
    world = world_of(tmp_path, trainers=1)
    world.provider_report_key = SimpleNamespace(public=b"\xff" * len(world.provider_report_key.public))  # type: ignore[assignment]
    ended = world.run()
    assert (ended.outcome, ended.completed, len(ended.provider_report or b"")) == ("finished", True, 3184)


class RealWorld(TrainingWorld):
    """Trains in the real sandbox."""

    def starts(self, slot: int) -> Starts:
        """The sandbox of a job."""
        assert slot == 0
        return Starts(export=lambda *_: FixedExport(None))


LINEAR: Final = f"""
import socket
import torch
from torch import nn

class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.more = nn.Parameter(torch.zeros({FEATURES - 2})), nn.Parameter(torch.zeros(2, 1))
        try:
            socket.create_connection(("127.0.0.1", 80))
        except PermissionError:
            pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch):
        raise KeyError("a bug of the second kind")

    def forward(self, x):
        return x
"""


@pytest.mark.timeout(120)
def test_a_real_job_tells_its_provider_what_its_code_was_refused(tmp_path: Path) -> None:
    """The code fails in its first round, too: the owner reads the code of that, the provider how it went."""
    made = small_bundle()
    files = {DESCRIPTION_FILE: b"", "linear.py": LINEAR.encode()}
    schedule = make_schedule(rounds=1, tick_milliseconds=80, ticks_per_round=20, warmup_ticks=150)
    world = RealWorld(
        tmp_path, schedule, trainers=1, refusal_report="classes",
        bundle=BundleContents(manifest=made.manifest, files=files),
    )  # fmt: skip
    begin = time.monotonic()
    ended = world.run()
    assert time.monotonic() - begin >= (schedule.total_ticks - 1) * schedule.tick_seconds
    told, last = opened(world, ended).told, world.read_reports()[-1]
    assert (ended.outcome, last.outcome, last.codes) == ("finished", "failed", ("provider.raised",))
    assert told is not None
    assert (told.learned, told.refused.network, told.refused.namespaces) == ("failed", "some", "none")


def test_every_owner_must_let_it_be_known(tmp_path: Path) -> None:
    world = world_of(tmp_path, refusal_report="classes")
    world.datasets = (world.datasets[0], world.datasets[1].model_copy(update={"refusal_report": "none"}))
    world.sandboxes = {slot: LeastSquares(refused_calls=ALL_MANY) for slot in range(world.trainers)}
    assert opened(world, world.run()).told is None
