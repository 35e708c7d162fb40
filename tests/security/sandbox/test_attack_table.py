"""Promise: every attack of the table is blocked, in training, in queries and by the parser; outside, most succeed."""

from collections import Counter

from bench.sandbox import LEAST_ATTACKS
from tests.security.sandbox.attacks.confined import Verdict, play_bundles, play_queries, play_training
from tests.security.sandbox.attacks.table import TABLE
from tests.security.sandbox.attacks.unconfined import play_unconfined
from tests.security.sandbox.attacks.wasm_table import WASM_TABLE

ONE_OF_EACH_KIND = (
    "end_process", "call_of_i386", "loop", "eat_memory", "old_sequence", "late_writer", "not_a_number",
)  # fmt: skip
"""Each costs a sandbox of its own; `./cloister bench sandbox` plays all."""


def got_through(verdicts: list[Verdict]) -> dict[str, str]:
    return {one.attack.name: one.seen for one in verdicts if not one.blocked}


def test_every_attack_has_a_name_of_its_own() -> None:
    for table, key in ((TABLE, "attacks_native_total"), (WASM_TABLE, "attacks_wasm_total")):
        names = Counter(attack.name for attack in table)
        assert len(names) == len(table) >= LEAST_ATTACKS[key]


def test_no_bundle_that_lies_is_parsed() -> None:
    assert got_through(list(play_bundles())) == {}


def test_queries_are_safe_from_every_attack() -> None:
    verdicts = list(play_queries())
    assert {one.attack.name for one in verdicts} == {one.name for one in TABLE if "query" in one.sandboxes}
    assert got_through(verdicts) == {}


def test_training_is_safe_from_attacks() -> None:
    verdicts = list(play_training(ONE_OF_EACH_KIND))
    assert set(ONE_OF_EACH_KIND) <= {one.attack.name for one in verdicts}
    assert got_through(verdicts) == {}


def test_most_of_them_succeed_outside() -> None:
    succeeded = play_unconfined()
    assert set(succeeded) == {attack.name for attack in TABLE if attack.outside}
    assert sum(succeeded.values()) > 0.8 * len(succeeded), [name for name, did in succeeded.items() if not did]
