"""The rows of the next round are gathered beside this one; which rows they are does not change."""

import threading

import numpy as np
import pytest

from common.errors import FormatError
from common.sandbox.protocol import Rows
from services.trainer_enclave.rows_ahead import RowsAhead


def test_each_round_has_its_rows_and_the_next_ones_are_begun() -> None:
    begun, third = list[int](), threading.Event()

    def gather(number: int) -> Rows:
        begun.append(number)
        if number == 2:
            third.set()
        return {"x": np.array([number])}

    ahead = RowsAhead(gather)
    assert [ahead.of_round(number)["x"].tolist() for number in (0, 1)] == [[0], [1]]
    assert third.wait(10)
    assert begun == [0, 1, 2]
    assert ahead.of_round(7)["x"].tolist() == [7], "a round that was not begun is gathered at once"
    ahead.close()
    ahead.close()


def test_what_is_wrong_with_rows_is_raised_when_they_are_asked_for() -> None:
    def gather(number: int) -> Rows:
        if number == 1:
            raise FormatError("format.dataset")
        return {}

    ahead = RowsAhead(gather)
    assert ahead.of_round(0) == {}
    with pytest.raises(FormatError):
        ahead.of_round(1)
    ahead.close()
