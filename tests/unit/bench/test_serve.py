"""What the bench of serving says of its figures, and that its load generator and plain twin do what they say."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bench.serve import INT8, ROWS, Telling, _model_of
from bench.serve_builds import CHOICE, KINDS, build_with
from bench.serve_callers import PlainSession, encoded, is_answer
from bench.serve_figures import LEAST, MOST, Told, missed, percentile, ratio_of_medians
from bench.serve_http import BrokenAnswerError, Connection, Reply, parse_head
from bench.serve_kills import AnswerWatch
from bench.serve_load import Run, arrivals, load
from bench.serve_models import MODELS
from bench.serve_peers import PEERS
from bench.serve_rows import PAIRS, require_answers
from bench.serve_twin_parts import EndlessBudget, NoReceipts, PlainSessions, nobodys_grant
from client.measuring import CODE_ROOT
from common.bundle_packing import read_bundle_directory
from common.enclave.measurement import listing, measured_content
from common.enclave.roles import ROLES as ENCLAVES
from common.identifiers import ModelId
from common.sandboxed.engine_report import EngineKind
from services.query_enclave.answering import Answering
from services.query_enclave.departures import Timing
from services.query_enclave.grants import GrantBudgets
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import SessionTable
from tests.fakes.query_world import PROFILE, WEIGHTS_CF, LinearModel, QueryWorld, rows_of


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(one) for one in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 50) == 0.0


def test_a_ratio_is_of_medians_and_never_over_nothing() -> None:
    assert ratio_of_medians([90, 1, 91], [100, 100, 5]) == 0.9
    with pytest.raises(ValueError, match="nothing"):
        ratio_of_medians([1.0], [0.0])


def test_a_bar_is_missed_on_its_own_side_and_only_if_measured() -> None:
    assert missed({}) == []
    assert missed(LEAST | MOST) == []
    assert missed({"vs_bentoml": 2.99, "queries_lost": 1, "vs_litserve_eager": 1.0}) == ["vs_bentoml", "queries_lost"]


def test_every_bar_has_a_row_and_every_row_an_engine() -> None:
    assert set(LEAST) <= {*PAIRS, INT8}
    assert set(MOST) - {"queries_lost", "queries_doubled", "overload_memory_growth"} <= set(ROWS)
    assert {MODELS[_model_of(row)].name for row in ROWS} == MODELS.keys()
    assert {one.engine for one in PAIRS.values()} <= KINDS.keys()
    assert all(kind in EngineKind.__members__ for kind in KINDS.values())


def test_a_row_that_fails_is_left_out_and_not_passed(tmp_path: Path) -> None:
    figures: dict[str, Any] = {"settings": {}, "left_out": {}}
    told = Telling(figures, tmp_path / "figures.json")

    def fail() -> dict[str, Any]:
        raise RuntimeError("no java")

    told.row("vs_torchserve", fail)
    told.row("vs_fastapi", lambda: {"vs_fastapi": 2.0})
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["left_out"] == {"vs_torchserve": "RuntimeError: no java"}
    assert written["vs_fastapi"] == 2.0
    with pytest.raises(SystemExit):
        told.conclude()


def test_a_build_that_forces_an_engine_measures_otherwise(tmp_path: Path) -> None:
    """By two lines in one file and one file more, of those roles alone in whose sandboxes that file is."""
    build = build_with("bf16", tmp_path / "build")
    trust = QueryWorld(tmp_path).trust
    for role in ENCLAVES.values():
        own, forced = (listing(measured_content(role, root, trust)) for root in (CODE_ROOT, build))
        changed = {name for name in own.keys() | forced.keys() if own.get(name) != forced.get(name)}
        expected = {"common/sandboxed/engine_choice.py", "common/sandboxed/forced_engine.py"}
        assert changed == (expected if role.needs_sandbox else set()), role.role
    assert (build / CHOICE).read_text().startswith((CODE_ROOT / CHOICE).read_text())


@pytest.mark.parametrize("engine", KINDS)
def test_a_build_answers_with_its_engine(engine: str, tmp_path: Path) -> None:
    """In a process of its own, whose code is the build's."""
    build = build_with(engine, tmp_path / "build")
    script = (
        "import json, sys, numpy as np\n"
        "from common.sandboxed.engine_choice import choose_engine\n"
        "from bench.resnet_graphs import random_state, small_resnet\n"
        "graph = small_resnet(8, (4, 8), 1)\n"
        "engine, report = choose_engine(graph, random_state(graph))\n"
        "print(report.kind.name, engine.kind.name, engine.answer(np.zeros((3, 3, 8, 8), np.uint8)).shape)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(build)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, cwd=build, capture_output=True, text=True, check=True
    )
    assert done.stdout.split(" ", 2) == [KINDS[engine], KINDS[engine], "(3, 10)\n"]


def test_every_pin_is_exact() -> None:
    for peer in PEERS.values():
        lines = [line for line in peer.pins.read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line and " @ " not in line and "://" not in line for line in lines), peer.name


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_one_row_of_its_shape(name: str, tmp_path: Path) -> None:
    description, _ = read_bundle_directory(MODELS[name].write_bundle(tmp_path / "source"))
    assert (description.query_rows, tuple(description.input.shape)) == (1, MODELS[name].shape)


class Scripted:
    """A user whose answers are said beforehand: True, False, or an exception; each takes `seconds`."""

    def __init__(self, *said: bool | Exception, seconds: float = 0.001) -> None:
        self.said, self.seconds, self.asked = said, seconds, 0

    async def call(self) -> bool:
        said = self.said[self.asked % len(self.said)]
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if isinstance(said, Exception):
            raise said
        return said


def test_answers_refusals_and_failures_are_told_apart() -> None:
    users = [Scripted(True, False, ConnectionError()) for _ in range(3)]
    told = asyncio.run(load(users, Run(users=2, seconds=0.3)))
    assert told.answered + told.refused + told.failed == users[0].asked + users[1].asked
    assert users[2].asked == 0
    assert min(told.answered, told.refused, told.failed) > 0
    assert abs(told.answered - told.failed) <= 4
    assert told.seconds >= 0.3


def test_arrivals_come_at_their_rate_whatever_the_answers_do() -> None:
    dues = list(arrivals(1000.0, 7, 5.0, 10.0))
    assert len(dues) == pytest.approx(5000, rel=0.1)
    assert dues == sorted(dues)
    assert dues == list(arrivals(1000.0, 7, 5.0, 10.0))


def test_a_server_that_stalls_is_not_asked_less_for_it() -> None:
    """One user, a question due each 10 ms, each answered in 50 ms: the later ones are late, and that counts."""
    told = asyncio.run(load([Scripted(True, seconds=0.05)], Run(users=1, seconds=0.5, rate=100.0)))
    assert told.p99_ms > 200


def served(answer: bytes, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    """What `work` sees of a server that answers everything so."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(parse_length(head))
        writer.write(answer)
        writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            return await work(Connection(server.sockets[0].getsockname()[1]))

    return asyncio.run(run())


def parse_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Reply(200, b"hi")),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Reply(503, b"")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
            Reply(200, b"abcd"),
        ),
    ],
)
def test_an_answer_is_read_whole(answer: bytes, reply: Reply) -> None:
    assert served(answer, lambda one: one.post("/predict", b"body", {})) == reply


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\nhi", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", b""]
)
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        served(answer, lambda one: one.post("/predict", b"body", {}))


def test_a_rate_beside_failures_is_none() -> None:
    require_answers(Told(1.0, 99, 50, 1, 1.0, 1.0, 0.1))
    with pytest.raises(RuntimeError, match="2 questions failed"):
        require_answers(Told(1.0, 98, 0, 2, 1.0, 1.0, 0.1))


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(BrokenAnswerError):
        parse_head(b"SSH-2.0-x\r\n\r\n")


def test_an_answer_may_differ_by_its_rounding_alone() -> None:
    known = np.array([[1.0, -8.0, 3.0]], np.float32)
    assert is_answer(known * np.float32(1.01), known)
    assert not is_answer(known + np.float32(0.5), known)
    assert not is_answer(known[:, ::-1], known)
    assert not is_answer(known[0], known)
    assert not is_answer(np.full_like(known, np.nan), known)


def test_a_row_is_sent_as_a_server_takes_it() -> None:
    row = np.arange(4, dtype=np.uint8)
    assert encoded(row, "raw") == bytes(range(4))
    assert encoded(row, "one") == b'{"image": "AAECAw=="}'
    assert encoded(row, "list") == b'{"images": ["AAECAw=="]}'


def test_the_twin_computes_what_the_sealed_path_does_at_its_sizes() -> None:
    sessions = PlainSessions(PROFILE, nobodys_grant(ModelId.new()))
    twin = Answering(
        profile=PROFILE,
        sessions=cast("SessionTable", sessions),
        budgets=GrantBudgets(EndlessBudget(), 1),
        sandbox=LinearModel(),
        now=lambda: 0,
        timing=Timing(0.001, 0.001, 5.0),
        require_lease=lambda: None,
        receipts=cast("Receipts", NoReceipts()),
    )
    user, rows = PlainSession(PROFILE), rows_of(2)
    query = user.seal(rows)
    answer = twin.answer(query)
    assert (len(query), len(answer)) == (PROFILE.query_bytes, PROFILE.answer_bytes)
    scores = user.read(query, answer).scores
    assert scores is not None
    np.testing.assert_allclose(scores.astype(np.float32), rows @ WEIGHTS_CF.T, rtol=1e-5)


class Streams:
    """Redis, as far as a watch of answers goes."""

    def __init__(self, *entries: tuple[bytes, bytes]) -> None:
        self.entries = entries

    def scan_iter(self, *, match: str) -> list[bytes]:
        return [match.replace("*", "1").encode()]

    def xrange(self, stream: bytes, *, min: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:  # noqa: A002 - redis-py's
        assert stream.endswith(b"answers:1")
        return [(number, {b"id": name}) for number, name in self.entries if number > min.removeprefix(b"(")]


def test_an_answer_counts_once_and_two_to_one_question_are_seen() -> None:
    watch = AnswerWatch("redis://127.0.0.1:1/0")
    for _ in range(2):
        watch.look(cast("Any", Streams((b"1-0", b"a"), (b"2-0", b"b"))))
    assert (watch.answers, watch.doubled) == (2, 0)
    watch.look(cast("Any", Streams((b"2-0", b"b"), (b"3-0", b"a"))))
    assert (watch.answers, watch.doubled) == (3, 1)


def test_latency_is_wall_time() -> None:
    begun = time.perf_counter()
    told = asyncio.run(load([Scripted(True, seconds=0.02)], Run(users=1, seconds=0.1)))
    assert 20 <= told.p50_ms <= 1000 * (time.perf_counter() - begun)
