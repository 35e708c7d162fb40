"""The table of attacks on the `native` sandbox (side: library)."""

from dataclasses import dataclass
from typing import Final, Literal

from tests.security.sandbox.attacks.bundles import BUNDLES
from tests.security.sandbox.attacks.calls import CALLS, Calls
from tests.security.sandbox.hostile_bundle import memory_tricks, poison

Sandbox = Literal["training", "query", "bundle"]
"""Where an attack is played; `bundle` is the parser, which comes before any sandbox."""

BOTH: Final[tuple[Sandbox, ...]] = ("training", "query")

REFUSED, FORGOTTEN, NOT_RUN, ANSWERED = "refused", "forgotten", "not run", "answered"
"""Outcomes beside the codes of refusals: a call failed, nothing was found, nothing ran, all went on as if without."""


@dataclass(frozen=True)
class Attack:
    """`expected` are the outcomes that count as blocked. `outside`: whether it means something without a sandbox."""

    name: str
    tries: str
    group: str
    sandboxes: tuple[Sandbox, ...]
    expected: tuple[str, ...]
    outside: bool = True


def _calls(groups: dict[str, Calls]) -> list[Attack]:
    return [
        Attack(name, tries, group, ("query",) if name in _LIMITED_IN_TRAINING else BOTH, (REFUSED,))
        for group, calls in groups.items()
        for name, tries in calls.items()
    ]


_LIMITED_IN_TRAINING: Final = ("thread", "write_temporary")
"""Allowed there: one of few threads, a file in scratch space. Bombs try to get too many of either."""

_KILLED, _RAISED, _TIMEOUT = "provider.killed", "provider.raised", "provider.timeout"

ENDINGS: Final[dict[str, tuple[str, tuple[Sandbox, ...], str]]] = {
    "raise_error": ("put data into the text of an exception", BOTH, _RAISED),
    "leave": ("end with a status of its own", ("query",), _RAISED),
    "end_process": ("end with a status of its own, without Python's help", BOTH, _KILLED),
    "claim_status": ("end with a status that the zygote's own code has", ("query",), _KILLED),
    "crash": ("abort", ("query",), _KILLED),
    "fault": ("read where no memory is", ("query",), _KILLED),
    "overflow_stack": ("recurse until the stack ends", ("query",), _KILLED),
    "recurse": ("recurse until Python refuses", ("query",), _RAISED),
    "call_of_i386": ("reach system calls through the table of i386", BOTH, _KILLED),
    "call_of_x32": ("reach system calls through the table of x32", ("query",), _KILLED),
    "loop": ("never end, busy", BOTH, _TIMEOUT),
    "sleep": ("never end, idle", ("query",), _TIMEOUT),
    "deadlock": ("never end, in a lock", ("query",), _TIMEOUT),
    "flood_output": ("say something by how much is printed", BOTH, ANSWERED),
    "print_data": ("print data", BOTH, ANSWERED),
}
"""Name, what it tries, where, what comes of it. The order is `endings.ENDINGS`'."""

_OUTPUT = "provider.output"

FORGERIES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "old_sequence": ("pass an older output off as this one", (_OUTPUT,)),
    "future_sequence": ("put an output in stock for the next unit of work", (_OUTPUT,)),
    "strange_status": ("a status out of range", (_OUTPUT,)),
    "more_steps": ("claim more steps than were asked for", (_OUTPUT,)),
    "loss_not_a_number": ("a loss that is not a number", (_OUTPUT,)),
    "early_completion": ("say that it is done, many times, and go on", (_OUTPUT,)),
    "close_pipes": ("close the pipe and go on", (_KILLED,)),
    "flood_completions": ("fill the pipe", (_OUTPUT,)),
    "late_writer": ("change the output while it is checked and after", (ANSWERED, _OUTPUT)),
    "lying_tensor": ("a tensor whose class lies about its values", (_OUTPUT, _RAISED, ANSWERED)),
    "larger_state": ("return more parameters", (_OUTPUT,)),
    "other_type": ("return parameters of another type", (_OUTPUT, _RAISED)),
    "more_tensors": ("return a tensor more", (_OUTPUT,)),
}
"""The order is `forgeries.FORGERIES`'. An output that passes is one of finite numbers, of the right size: that is all
that an output promises."""

NUMBERS: Final = {
    "not_a_number": "return NaN",
    "infinite": "return infinity",
    "answer_of_other_size": "return an answer of another size",
}


def _table() -> tuple[Attack, ...]:
    attacks = _calls(CALLS)
    attacks += [Attack(name, t, "endings", where, (code,)) for name, (t, where, code) in ENDINGS.items()]
    attacks += [Attack(name, t, "forgeries", ("training",), code, False) for name, (t, code) in FORGERIES.items()]
    attacks.append(Attack("eat_memory", "use up all memory", "endings", BOTH, (_RAISED,), False))
    attacks += [
        Attack(name, tries, "forgeries", BOTH if "answer" not in name else ("query",), (_OUTPUT,), False)
        for name, tries in NUMBERS.items()
    ]
    attacks += [
        Attack(name, "leave a note for the next query, and for another job", "notes", BOTH, (FORGOTTEN,))
        for name in memory_tricks.TRICKS
    ]
    attacks += [
        Attack(name, f"have {file} of the bundle run by itself", "bundles", ("query",), (NOT_RUN,), False)
        for name, file in poison.FILES.items()
    ]
    attacks += [
        Attack(name, "a bundle that does not parse", "bundles", ("bundle",), ("format.bundle",), False)
        for name in BUNDLES
    ]
    return tuple(attacks)


TABLE: Final = _table()
