"""The table of attacks on the `wasm` sandbox, and how it is played (side: library).

An attack is a component, the call by which it is played, and the code that must come of it; all before that call must
go well, and the call may neither take long nor leave the process larger. What needs more than one job, a changed clock
or a host (tests/security/test_attack_wasm_*.py) is not in the table, and is not counted.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import psutil

from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.interface import Profile
from common.sandbox.wasm.limits import WasmLimits
from tests.fakes.wasm_components import METRICS, PROFILE, component, wasm_bundle
from tests.security.sandbox.attacks import wasm_components, wasm_running
from tests.security.sandbox.attacks.wasm_python import DEEDS, Python, deed
from tests.security.sandbox.sandbox_parts import hostile_bundle
from tests.security.sandbox.wasm_parts import LIMITS, SECONDS, SEEDS

Call = Literal["start", "design", "after-epoch"]

MOST_SECONDS: Final = 20.0
MOST_MEGABYTES: Final = 250.0

_MANY_STEPS: Final = replace(LIMITS, design_fuel=1 << 40)


@dataclass(frozen=True)
class WasmAttack:
    """`expected`: `CODE` of the outcomes of `call` that count as blocked. `begin` starts the designer."""

    name: str
    tries: str
    group: str
    call: Call
    expected: tuple[str, ...]
    begin: Callable[[], WasmDesigner]
    profile: Profile = PROFILE


@dataclass(frozen=True)
class WasmVerdict:
    """What came of it: the call that ended it and its code, or what it used up."""

    attack: WasmAttack
    seen: str

    @property
    def blocked(self) -> bool:
        """Whether that is what must come of it."""
        return self.seen in {f"{self.attack.call}: {code}" for code in self.attack.expected}


def play(attack: WasmAttack) -> WasmVerdict:
    """Play it in this process, as an enclave does."""
    if attack.group == "python":
        python()  # to build and to compile it is no part of the attack
    process, begin = psutil.Process(), time.monotonic()
    before = process.memory_info().rss
    seen = _played(attack)
    if time.monotonic() - begin > MOST_SECONDS:
        seen = f"{seen}, too late"
    if process.memory_info().rss - before > MOST_MEGABYTES * 2**20:
        seen = f"{seen}, and memory was kept"
    return WasmVerdict(attack, seen)


def _played(attack: WasmAttack) -> str:
    designer = attack.begin()
    try:
        if designer.code is not None:
            return f"start: {designer.code}"
        if (code := designer.design(attack.profile, SECONDS).code) is not None:
            return f"design: {code}"
        return f"after-epoch: {designer.after_epoch(METRICS, SECONDS).code}"
    finally:
        designer.close()


def play_wasm(attacks: Sequence[WasmAttack] | None = None) -> list[WasmVerdict]:
    """These, by default the whole table: then CPython is built and compiled."""
    return [play(attack) for attack in (WASM_TABLE if attacks is None else attacks)]


def _starting(make: Callable[[], bytes], limits: WasmLimits = LIMITS) -> Callable[[], WasmDesigner]:
    return lambda: WasmDesigner.start(wasm_bundle(make()), SEEDS, limits)


def _components() -> Iterator[WasmAttack]:
    code = "provider.import"
    for name, tries, make in wasm_components.made():
        yield WasmAttack(name, tries, "components", "start", (code,), _starting(make))
    yield WasmAttack(
        "a native bundle", "have Python run here", "components", "start", (code,),
        lambda: WasmDesigner.start(hostile_bundle(), SEEDS, LIMITS),
    )  # fmt: skip
    forever = "(func $forever (loop (br 0))) (start $forever)"
    yield WasmAttack(
        "loop at the start", "never end", "components", "start", ("provider.timeout",),
        _starting(functools.partial(component, module=forever)),
    )  # fmt: skip


def _running() -> Iterator[WasmAttack]:
    for name, tries, make, code in wasm_running.designed():
        limits = _MANY_STEPS if name in {"recursion", "a text of all memory"} else LIMITS
        yield WasmAttack(name, tries, "running", "design", (code,), _starting(make, limits))
    for name, tries, make, code in wasm_running.after_epochs():
        yield WasmAttack(name, tries, "running", "after-epoch", (code,), _starting(make))


@functools.cache
def python() -> Python:
    """The component of CPython, built and compiled once in a process."""
    return Python()


def _python() -> Iterator[WasmAttack]:
    for name, (tries, codes) in DEEDS.items():
        profile = deed(name)
        yield WasmAttack(
            f"Python: {name}", tries, "python", "design", codes, functools.partial(_start_python, profile), profile
        )


def _start_python(profile: Profile) -> WasmDesigner:
    return python().start(profile)


WASM_TABLE: Final = (*_components(), *_running(), *_python())
