"""Names of a graph's parameters and nodes, made to fit and to differ (side: sandbox; enclaves import it too; no torch).

A module's tensors keep their names in `state_dict()` where a graph allows them: so both sides know, without being told,
which tensor a parameter is.
"""

import re
from collections.abc import Container, Iterable
from typing import Final

INPUT: Final = "input"
LONGEST: Final = 100
"""Of a name before its number; the format allows 128 characters."""


def fitting_name(wanted: str, taken: Container[str]) -> str:
    """`wanted`, with underscores for what a name may not have, and a number where that is taken."""
    base = re.sub(r"[^A-Za-z0-9_.]", "_", wanted)[:LONGEST]
    base = base if re.match(r"[A-Za-z_]", base) else f"_{base}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def names_of_state(tensors: Iterable[str]) -> dict[str, str]:
    """The parameter's name for each tensor of a state, given in its order."""
    names: dict[str, str] = {}
    taken = {INPUT}
    for one in tensors:
        names[one] = fitting_name(one, taken)
        taken.add(names[one])
    return names
