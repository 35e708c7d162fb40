"""The simulated CPU: its files, its collateral, its sealing keys."""

import os
import time
from pathlib import Path

import pytest

from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import UnavailableError
from common.identifiers import MrEnclave

ONE, TWO = MrEnclave("1" * 64), MrEnclave("2" * 64)


@pytest.fixture
def platform(tmp_path: Path) -> SimulatedPlatform:
    return SimulatedPlatform.open_or_create(tmp_path / "platform")


def test_it_stays_the_same_platform(platform: SimulatedPlatform) -> None:
    again = SimulatedPlatform.open_or_create(platform.directory)
    assert again.allowed_root == platform.allowed_root
    assert again.sealing_key(ONE, b"label") == platform.sealing_key(ONE, b"label")


def test_its_keys_are_its_owners_alone(platform: SimulatedPlatform) -> None:
    assert platform.directory.stat().st_mode & 0o077 == 0
    secret = [path for path in platform.directory.iterdir() if path.name.endswith((".key.pem", ".secret"))]
    assert len(secret) == 6
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in secret)
    assert "secret" not in repr(platform)


def test_sealing_keys_differ(platform: SimulatedPlatform, tmp_path: Path) -> None:
    other = SimulatedPlatform.open_or_create(tmp_path / "other")
    keys = {
        platform.sealing_key(ONE, b"a"),
        platform.sealing_key(ONE, b"b"),
        platform.sealing_key(TWO, b"a"),
        other.sealing_key(ONE, b"a"),
    }
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)


def test_collateral_is_kept_and_issued_anew_in_time(platform: SimulatedPlatform) -> None:
    first, path = platform.collateral(), platform.directory / "collateral.json"
    assert platform.collateral() == first
    for age_days in (16, -1):
        when = time.time() - age_days * 86400
        os.utime(path, (when, when))
        fresh = platform.collateral()
        assert fresh.pck_crl != first.pck_crl
        assert platform.collateral() == fresh
        first = fresh
    path.write_bytes(b"damaged")
    assert platform.collateral().pck_crl != first.pck_crl


def test_no_platform_is_opened_where_there_is_none(platform: SimulatedPlatform, tmp_path: Path) -> None:
    (platform.directory / "pck.pem").write_text("no certificate")
    for directory in (platform.directory, tmp_path / "absent"):
        with pytest.raises(UnavailableError, match=r"unavailable\.launcher"):
            SimulatedPlatform.open(directory)
