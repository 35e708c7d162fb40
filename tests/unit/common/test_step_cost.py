"""A published cost is coarse, never below what was measured, and old publications are read as before."""

import json
import math

import pytest
from pydantic import ValidationError

from common.messages.objects import BundlePublication, StepCost
from tests.vectors.sample_documents import PUBLICATION


@pytest.mark.parametrize(("fixed", "row"), [(0, 0), (1, 1), (3, 5), (1025, 65_536), (1e9, 1e12), (7.5, 0.2)])
def test_a_cost_is_rounded_up_to_powers_of_two(fixed: float, row: float) -> None:
    cost = StepCost.of(fixed, row)
    assert max(fixed, 1) <= cost.fixed_microseconds < 2 * max(fixed, 1)
    assert max(row, 1) <= cost.row_nanoseconds < 2 * max(row, 1)


def test_it_has_few_values_whatever_was_measured() -> None:
    """At most 11 bits of a provider's code."""
    measured = [1.7**power for power in range(-20, 120)]
    fixed = {StepCost.of(one, 1).fixed_microseconds for one in measured}
    row = {StepCost.of(1, one).row_nanoseconds for one in measured}
    assert math.log2(len(fixed) * len(row)) <= 11


@pytest.mark.parametrize("value", [0, 3, 1 << 41])
def test_finer_costs_are_refused(value: int) -> None:
    with pytest.raises(ValidationError):
        StepCost(fixed_microseconds=value, row_nanoseconds=1)


def test_milliseconds_follow_from_rows() -> None:
    assert StepCost(fixed_microseconds=1024, row_nanoseconds=8192).milliseconds(100) == pytest.approx(1.024 + 0.8192)


def test_a_publication_of_an_earlier_build_is_read() -> None:
    fields = json.loads(PUBLICATION.encode())
    del fields["step_cost"]
    old = BundlePublication.decode(json.dumps(fields).encode())
    assert old == PUBLICATION.model_copy(update={"step_cost": None})
