"""`cloister doctor`: every part is examined, what is wrong is named with what mends it, and the status says so."""

import json
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from client.cli import main
from client.doctor import examine, machine, stack
from client.events import Examined
from common.dcap.collateral_authenticity import next_update
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import ConfinementError, ConflictError
from common.untrusted.collateral_cache import COLLATERAL_FOLDER, CollateralCache
from common.untrusted.database import Database
from deploy.embedded.state import StateDirectory, write_private


class Usage(NamedTuple):
    total: int
    used: int
    free: int


PARTS = ["TEE", "kernel", "bubblewrap", "seccomp", "programs", "clock", "disk", "memory", "build", "services", "broker",
         "redis", "registry", "collateral"]  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare()
    return made


def finding(told: list[Examined], part: str) -> Examined:
    return next(one for one in told if one.part == part)


def test_every_part_is_examined_once_and_what_is_to_be_mended_says_how(state: StateDirectory) -> None:
    told = list(examine(state.root))
    assert [one.part for one in told] == PARTS
    assert [one.part for one in told if one.state == "mend" and one.command is None] == []


def test_the_command_ends_with_a_status_and_speaks_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[int, list[dict[str, object]]]:
        done = CliRunner().invoke(main, ["doctor", "--json", "--state", str(tmp_path / "none")])
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]

    monkeypatch.setattr(machine, "missing_packages", list)
    monkeypatch.setattr(machine, "require_confinement", lambda: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, 100 * machine.GIB))
    status, told = run()
    assert status == 0, told
    assert [one["part"] for one in told] == PARTS
    monkeypatch.setattr(machine, "missing_packages", lambda: ["redis-server"])
    status, told = run()
    assert status == 1
    broken = next(one for one in told if one["part"] == "programs")
    assert (broken["state"], broken["command"]) == ("mend", "apt-get install redis-server")
    assert not (tmp_path / "none").exists()  # to look changes nothing


def test_a_machine_that_cannot_confine_is_told_the_command(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> None:
        raise ConfinementError("confinement.user_namespaces", seen="bwrap: No permissions to create new namespace")

    monkeypatch.setattr(machine, "require_confinement", forbidden)
    found = finding(list(examine(state.root)), "bubblewrap")
    assert found.state == "mend"
    assert found.told.startswith("confinement.user_namespaces")
    assert "sysctl user.max_user_namespaces" in (found.command or "")


def test_devices_name_the_tee(tmp_path: Path) -> None:
    assert machine.tee(tmp_path).state == "note"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sgx_enclave").touch()
    assert (machine.tee(tmp_path).state, machine.tee(tmp_path).told) == ("ok", "SGX")


def test_a_full_disk_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, 100 << 20))
    assert machine.disk(tmp_path / "not there yet").state == "mend"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 100000 kB\n")
    assert machine.memory(tmp_path).state == "note"


def test_a_clock_that_went_back(state: StateDirectory) -> None:
    assert machine.clock(state.root).state in {"ok", "note"}
    write_private(state.run / "status.json", b"{}")
    os.utime(state.run / "status.json", (time.time() + 3600,) * 2)
    found = machine.clock(state.root)
    assert (found.state, found.command) == ("mend", "timedatectl set-ntp true")


def test_a_state_of_another_build(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(_state: StateDirectory) -> None:
        raise ConflictError("conflict.build", expected="a", seen="b")

    monkeypatch.setattr(stack, "require_same_build", other)
    found = finding(list(examine(state.root)), "build")
    assert found.state == "mend"
    assert "--hand-over" in (found.command or "")


def test_a_registry_that_is_damaged(state: StateDirectory) -> None:
    assert stack.registry(state).state == "note"
    path = state.folder("registry") / "registry.sqlite"
    write_private(state.settings / "ingest.json", json.dumps({"database_url": f"sqlite:///{path}"}).encode())
    assert stack.registry(state).state == "mend"
    database = Database(f"sqlite:///{path}")
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert stack.registry(state).state == "ok"
    raw = bytearray(path.read_bytes())
    raw[4096 : 4096 + 512] = os.urandom(512)
    path.write_bytes(raw)
    found = finding(list(examine(state.root)), "registry")
    assert found.state == "mend"


def test_collateral_that_is_soon_over(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.collateral(state, has_tee=False).state == "ok"
    assert stack.collateral(state, has_tee=True).state == "mend"
    platform = SimulatedPlatform.open_or_create(state.root / "platform")
    given, now = platform.pki.collateral(datetime.now(UTC)), time.time()
    cache = CollateralCache(state.root / "attestation" / COLLATERAL_FOLDER, [platform.allowed_root])
    cache.put(given, "a file", int(now))
    assert stack.collateral(state, has_tee=True).state == "ok"
    until = min(now + 14 * 86_400, next_update(given))
    for at, expected in ((until - 86_400, "note"), (until + 1, "mend")):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        assert stack.collateral(state, has_tee=True).state == expected
