"""What the bench of serving says of its figures, and that its load generator and plain twin do what they say."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bench.serve import engine_left_out
from bench.serve_callers import PlainSession, encoded
from bench.serve_figures import LEAST, MOST, Told, missed, percentile, ratio_of_medians
from bench.serve_http import BrokenAnswerError, Connection, Reply, parse_head
from bench.serve_kills import AnswerWatch
from bench.serve_load import Run, arrivals, load
from bench.serve_models import MODELS
from bench.serve_peers import PEERS
from bench.serve_rows import PAIRS, figure_of, require_answers
from bench.serve_twin_parts import EndlessBudget, NoReceipts, PlainSessions, nobodys_grant
from common.bundle_packing import read_bundle_directory
from common.identifiers import ModelId
from services.query_enclave.answering import Answering
from services.query_enclave.departures import Timing
from services.query_enclave.grants import GrantBudgets
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import SessionTable
from tests.fakes.query_world import PROFILE, WEIGHTS_CF, LinearModel, rows_of


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


def test_a_row_of_another_engine_never_stands_under_a_bar_of_openvino() -> None:
    assert figure_of("vs_bentoml", "openvino") == "vs_bentoml"
    assert figure_of("vs_bentoml", "eager") == "vs_bentoml_eager"
    assert figure_of("vs_fastapi_null", "eager") == "vs_fastapi_null"
    left = engine_left_out("eager")
    assert {"vs_litserve", "vs_bentoml", "vs_torchserve", "vs_ray_serve", "vs_fastapi"} <= left.keys()
    assert not {figure_of(row, "eager") for row in PAIRS} & left.keys()


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

    def xrange(self, stream: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
        assert stream.endswith(b"answers:1")
        return [(number, {b"id": name}) for number, name in self.entries]


def test_an_answer_counts_once_and_two_to_one_question_are_seen() -> None:
    watch = AnswerWatch("redis://127.0.0.1:1/0")
    for _ in range(2):
        watch.look(cast("Any", Streams((b"1-0", b"a"), (b"2-0", b"b"))))
    assert (watch.answers, watch.doubled) == (2, 0)
    watch.look(cast("Any", Streams((b"3-0", b"a"))))
    assert (watch.answers, watch.doubled) == (3, 1)


def test_latency_is_wall_time() -> None:
    begun = time.perf_counter()
    told = asyncio.run(load([Scripted(True, seconds=0.02)], Run(users=1, seconds=0.1)))
    assert 20 <= told.p50_ms <= 1000 * (time.perf_counter() - begun)
