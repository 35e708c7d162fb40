"""What is made of symbols: bits per second."""

import pytest

from bench.sandbox_channels import Rate


@pytest.mark.parametrize(
    ("microseconds", "errors", "bits_per_second"),
    [(1_000, 0, 1000.0), (1_000, 100, 1000.0), (1_000, 50, 0.0), (10_000, 11, 50.0)],
)
def test_a_rate_is_the_capacity_of_a_binary_symmetric_channel(
    microseconds: int, errors: int, bits_per_second: float
) -> None:
    """H(0.11) is 0.49992 (a textbook's half)."""
    assert Rate(microseconds, 100, errors).bits_per_second == pytest.approx(bits_per_second, abs=0.1)
