"""The door: calls in both directions, refusals as codes, broken streams end it, nothing of a fault leaks."""

import os
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from typing import BinaryIO

import pytest

from common.door import MAX_BODY_BYTES, Door, Handler, Kind
from common.errors import PeerClosedError, PolicyError, Refusal
from common.messages.enclave_events import EnclaveReady


def refuse(_body: bytes) -> bytes:
    raise PolicyError("policy.budget", expected="secret of the party", seen="another")


def crash(_body: bytes) -> bytes:
    raise KeyError("secret text")


class Pair:
    """Two doors joined by two pipes, as relay and enclave are."""

    def __init__(self, left: dict[str, Handler], right: dict[str, Handler], inline: Collection[str] = ()) -> None:
        self.logs: list[bytes] = []
        a_read, b_write = os.pipe()
        b_read, a_write = os.pipe()
        self.raw_to_left: BinaryIO = os.fdopen(b_write, "wb")
        self.left = Door(os.fdopen(a_read, "rb"), os.fdopen(a_write, "wb"), left, on_log=self.logs.append)
        self.right = Door(os.fdopen(b_read, "rb"), self.raw_to_left, right, inline=inline)
        self.threads = [threading.Thread(target=door.serve, daemon=True) for door in (self.left, self.right)]
        for thread in self.threads:
            thread.start()


class GivenUp(Future[bytes]):
    """One that is given up between a look at it and its answer."""

    def done(self) -> bool:
        return False


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(
        {"double": lambda body: body * 2, "nothing": lambda _: b""},
        {"refuse": refuse, "crash": crash, "echo": lambda body: body},
    )
    yield made
    made.raw_to_left.close()
    made.threads[0].join(5)


def test_both_ends_call(pair: Pair) -> None:
    assert pair.left.call("echo", b"x" * 100_000) == b"x" * 100_000
    assert pair.right.call("double", b"ab") == b"abab"
    assert pair.right.call("nothing", b"") == b""


def test_refusals_cross_as_code_alone(pair: Pair) -> None:
    with pytest.raises(Refusal) as caught:
        pair.left.call("refuse", b"")
    assert isinstance(caught.value, PolicyError)
    assert caught.value.code == "policy.budget"
    assert caught.value.expected is None
    assert caught.value.seen is None


def test_faults_and_unknown_names_say_nothing(pair: Pair) -> None:
    with pytest.raises(Refusal, match="unavailable.enclave"):
        pair.left.call("crash", b"")
    with pytest.raises(Refusal, match="format.door_frame"):
        pair.left.call("unknown", b"")


def test_an_answer_that_its_asker_has_given_up_meanwhile_ends_nothing() -> None:
    answers = threading.Event()
    late, echo = (lambda body: body if answers.wait(10) else b""), (lambda body: body)
    pair = Pair({}, {"late": late, "echo": echo}, inline=["late", "echo"])  # one after the other
    pair.left.ask("late", b"answer")
    [number] = pair.left._waiting
    pair.left._waiting[number] = given_up = GivenUp()
    given_up.set_exception(TimeoutError())
    answers.set()
    assert pair.left.call("echo", b"and on", seconds=10) == b"and on"
    pair.raw_to_left.close()
    pair.threads[0].join(5)


def test_logs_carry_events_of_closed_types_alone(pair: Pair) -> None:
    pair.right.log(EnclaveReady(role="broker", epoch=3))
    assert pair.right.call("double", b"") == b""
    assert pair.logs == [b'{"event":"enclave_ready","role":"broker","epoch":3}']
    with pytest.raises(RuntimeError, match="no event"):
        pair.right.log("loss 0.5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "garbage",
    [
        (MAX_BODY_BYTES + 1).to_bytes(4, "big") + bytes([Kind.REQUEST]) + bytes(8),
        b"\x00\x00\x00\x10" + bytes([Kind.REQUEST]) + bytes(8) + b"short",
    ],
    ids=["too large", "truncated"],
)
def test_a_broken_stream_ends_the_door(pair: Pair, garbage: bytes) -> None:
    pair.raw_to_left.write(garbage)
    pair.raw_to_left.flush()
    pair.raw_to_left.close()
    assert pair.left.closed.wait(5)
    with pytest.raises(PeerClosedError):
        pair.left.call("echo", b"x")


def test_an_unanswered_call_ends_when_the_peer_goes() -> None:
    release = threading.Event()
    pair = Pair({}, {"wait": lambda _: (release.wait(10) and b"") or b""})
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            pair.left.call("wait", b"")
        except PeerClosedError as error:
            failed.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    pair.raw_to_left.close()
    asker.join(5)
    release.set()
    assert len(failed) == 1


def test_large_frames_cross_unbuffered_pipes_whole() -> None:
    reply_read, reply_write = os.pipe()
    ask_read, ask_write = os.pipe()
    ask = os.fdopen(ask_write, "wb", 0)
    left = Door(os.fdopen(reply_read, "rb", 0), ask, {})
    right = Door(os.fdopen(ask_read, "rb", 0), os.fdopen(reply_write, "wb", 0), {"echo": lambda body: body})
    threads = [threading.Thread(target=door.serve, daemon=True) for door in (left, right)]
    for thread in threads:
        thread.start()
    assert left.call("echo", b"x" * (3 << 20)) == b"x" * (3 << 20)
    ask.close()
    threads[1].join(5)


def test_notices_are_handled_in_order() -> None:
    taken: list[bytes] = []
    done = threading.Event()

    def take(body: bytes) -> bytes:
        taken.append(body)
        if len(taken) == 500:
            done.set()
        return b""

    pair = Pair({}, {"take": take})
    sent = [number.to_bytes(4, "big") for number in range(500)]
    for body in sent:
        pair.left.notify("take", body)
    assert done.wait(10)
    assert taken == sent
    pair.raw_to_left.close()


def test_short_requests_are_answered_by_the_thread_that_reads() -> None:
    names: list[str] = []

    def note(_: bytes) -> bytes:
        names.append(threading.current_thread().name)
        return b""

    pair = Pair({}, {"short": note, "long": note}, inline=["short"])
    pair.left.call("short", b"")
    pair.left.call("long", b"")
    pair.raw_to_left.close()
    assert names[0] == pair.threads[1].name != names[1]


def test_what_is_sent_together_leaves_in_one_write_when_it_is_due() -> None:
    """Another thread's words do not wait for it."""
    reader, writer = os.pipe()
    door, due = Door(os.fdopen(reader, "rb"), os.fdopen(writer, "wb"), {}), time.monotonic() + 0.2
    with door.together(due):
        door.notify("frame", b"a" * 100)
        answer = door.begin("object.read", b"b")
        other = threading.Thread(target=door.notify, args=("other", b"c"))
        other.start()
        other.join()
        assert os.read(reader, 1000)[13:] == b"\x05otherc"
        assert time.monotonic() < due
    assert time.monotonic() >= due
    piece = os.read(reader, 1000)
    assert piece[13:19] == b"\x05frame"
    assert piece.endswith(b"\x0bobject.readb")
    with pytest.raises(TimeoutError):
        answer(0.01)
    door.notify("frame", b"d")
    assert os.read(reader, 1000)[13:] == b"\x05framed"
    with pytest.raises(ZeroDivisionError):
        fail_together(door)
    door.notify("frame", b"f")
    assert os.read(reader, 1000)[13:] == b"\x05framef"
    os.close(reader)
    with pytest.raises(PeerClosedError), door.together(0.0):
        door.notify("frame", b"g")


def fail_together(door: Door) -> None:
    with door.together(0.0):
        door.notify("frame", b"e")
        raise ZeroDivisionError


def test_a_large_piece_arrives_whole(pair: Pair) -> None:
    heard = list[bytes]()
    pair.right._handlers["note"] = lambda body: heard.append(body) or b""  # type: ignore[func-returns-value]
    with pair.left.together(time.monotonic()):
        for fill in (b"a", b"b", b"c"):
            pair.left.notify("note", fill * 300_000)
    pair.left.call("echo", b"")
    give_up = time.monotonic() + 5
    while len(heard) < 3 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert heard == [b"a" * 300_000, b"b" * 300_000, b"c" * 300_000]
