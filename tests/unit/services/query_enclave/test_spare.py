"""One enclave is kept launched; whoever takes it hears of its end, and it is taken once."""

from collections.abc import Callable
from typing import cast

from common.untrusted.relay import EnclaveRelay
from services.query_enclave.spare import SpareEnclave


class Launched:
    """An enclave's process, as far as a spare goes."""

    def __init__(self, number: int, on_exit: Callable[[], None]) -> None:
        self.pid, self.on_exit, self.alive = number, on_exit, True

    def stop(self) -> None:
        self.end()

    def end(self) -> None:
        """By itself, or because it was stopped."""
        self.alive = False
        self.on_exit()


class Machine:
    """Launches, and what was heard of their ends."""

    def __init__(self) -> None:
        self.launched: list[Launched] = []
        self.ended: list[str] = []
        self.fails = False
        self.spare = SpareEnclave(self._launch)

    def _launch(self, on_exit: Callable[[], None]) -> EnclaveRelay:
        if self.fails:
            raise OSError("no process")
        self.launched.append(Launched(len(self.launched) + 1, on_exit))
        return cast("EnclaveRelay", self.launched[-1])

    def take(self, name: str) -> EnclaveRelay:
        return self.spare.take(lambda: self.ended.append(name))


def test_the_spare_one_is_taken_once_and_its_end_is_told_to_who_took_it() -> None:
    machine = Machine()
    machine.spare.prepare()
    machine.spare.prepare()
    assert (len(machine.launched), machine.spare.pid) == (1, 1)
    assert machine.take("first").pid == 1
    assert machine.take("second").pid == 2
    assert machine.ended == []
    for one in machine.launched:
        one.end()
    assert machine.ended == ["first", "second"]


def test_one_that_died_is_not_given_to_anybody() -> None:
    machine = Machine()
    machine.spare.prepare()
    machine.launched[0].end()
    assert machine.spare.pid is None
    assert machine.take("first").pid == 2
    machine.spare.prepare()
    machine.launched[2].end()
    machine.spare.prepare()
    assert machine.spare.pid == 4
    machine.spare.close()
    assert machine.spare.pid is None
    assert not machine.launched[3].alive
    assert machine.ended == []


def test_a_launch_that_fails_is_tried_again() -> None:
    machine = Machine()
    machine.fails = True
    machine.spare.prepare()
    assert machine.spare.pid is None
    machine.fails = False
    machine.spare.prepare()
    assert machine.spare.pid == 1
