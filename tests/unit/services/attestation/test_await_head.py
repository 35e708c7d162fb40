"""Who waits for the log to grow is answered when it does, and holds up nobody else."""

import threading
import time

import pytest

from common.messages.decision_log import TreeHead
from common.messages.log_heads import AwaitHead, HeadSigned
from common.messages.signed import open_signed
from services.attestation.key_broker import MAX_AWAITING
from tests.fakes.broker_world import BrokerWorld


def awaited(world: BrokerWorld, known: int) -> TreeHead:
    answer = world.channel().ask(AwaitHead(known=known), HeadSigned)
    return open_signed(answer.head, TreeHead, [world.genesis.signing_public])


def test_a_longer_log_is_told_at_once(world: BrokerWorld) -> None:
    size = world.head.size
    begun = time.monotonic()
    assert awaited(world, size - 1).head.size == size
    assert time.monotonic() - begun < 1


def test_the_next_decision_ends_the_wait(world: BrokerWorld) -> None:
    size, told = world.head.size, list[TreeHead]()
    waiting = threading.Thread(target=lambda: told.append(awaited(world, size)))
    waiting.start()
    while world.core._awaiting == 0:
        time.sleep(0.001)
    world.register_data()
    waiting.join(1.5)
    assert not waiting.is_alive()
    assert told[0].head.size == size + 1


def test_without_one_it_ends_all_the_same(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.attestation.key_broker.AWAIT_SECONDS", 0.02)
    size = world.head.size
    assert awaited(world, size).head.size == size


def test_too_many_are_answered_at_once(world: BrokerWorld) -> None:
    world.core._awaiting = MAX_AWAITING
    begun = time.monotonic()
    awaited(world, world.head.size)
    assert time.monotonic() - begun < 1


def test_what_decides_nothing_wakes_nobody(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = list[int]()
    monkeypatch.setattr(world.core._decided, "notify_all", lambda: woken.append(world.context.state.log.size))
    for _ in range(3):
        world.describe()
    assert woken == []
    size = world.head.size
    world.register_data()
    world.describe()
    assert woken == [size + 1]
