"""What the bench of attestation says of its figures."""

import pytest

from bench.attest import LEAST, MOST, missed

GOOD = {"vectors_right": 121, "vectors_total": 121, **LEAST, **MOST}


def test_figures_that_just_meet_their_bars_miss_none() -> None:
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vectors_right", 120),
        ("mutations_total", 4_999),
        ("mutations_accepted", 1),
        ("verify_ratio", 0.69),
        ("attest_and_key_p50_ms", 25.1),
        ("attest_per_second", 99.9),
        ("attest_errors", 1),
        ("revocation_seconds", 185.1),
        ("rollback_tried", 499),
        ("rollback_accepted", 1),
    ],
)
def test_each_bar_is_missed_on_its_own_side(name: str, value: float) -> None:
    assert missed(GOOD | {name: value}) == [name]


def test_each_bar_has_a_figure_that_misses_it() -> None:
    with pytest.raises(KeyError):
        missed({name: value for name, value in GOOD.items() if name != "verify_ratio"})
