import os
import stat
from pathlib import Path

import pytest

from common.errors import ConflictError
from deploy.embedded.state import MARKER, StateDirectory, write_private


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare()
    return directory


def modes_below(root: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (root, *root.rglob("*"))}


def test_folders_and_files_are_for_their_user_alone(state: StateDirectory) -> None:
    state.credential("amqp")
    state.port("amqp")
    assert modes_below(state.root) == {0}


def test_a_wide_open_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = StateDirectory(tmp_path / "state")
        state.prepare()
        state.credential("amqp")
        state.folder("redis")
    finally:
        os.umask(before)
    assert modes_below(state.root) == {0}


def test_preparing_twice_keeps_what_is_there(state: StateDirectory) -> None:
    password = state.credential("amqp")
    state.prepare()
    assert StateDirectory(state.root).credential("amqp") == password


def test_a_directory_with_foreign_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    with pytest.raises(ConflictError, match=r"conflict\.state_directory"):
        StateDirectory(tmp_path).prepare()
    with pytest.raises(ConflictError, match=r"conflict\.state_directory"):
        StateDirectory(tmp_path).remove()
    assert (tmp_path / "thesis.tex").exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConflictError):
        StateDirectory(tmp_path).prepare()


def test_an_empty_directory_may_be_used_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    state = StateDirectory(root)
    state.prepare()
    assert (root / MARKER).exists()
    state.remove()
    assert not root.exists()


def test_passwords_differ_and_have_256_bits(state: StateDirectory) -> None:
    first, second = state.credential("amqp"), state.credential("redis")
    assert first != second
    assert len(first) == len(second) == 43  # 32 bytes in base64


def test_no_outgoing_connection_may_take_a_port_while_its_service_restarts(state: StateDirectory) -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first < 11_000 and last > 64_000:
        pytest.skip("this kernel leaves no ports to listen on")
    assert not any(first <= state.port(f"service {number}") <= last for number in range(50))


def test_ports_are_kept_until_they_are_forgotten(state: StateDirectory) -> None:
    ports = {name: state.port(name) for name in "abcdef"}
    assert len(set(ports.values())) == 6
    assert StateDirectory(state.root).ports() == ports
    assert {name: state.port(name) for name in "abcdef"} == ports
    state.forget_ports()
    assert state.ports() == {}


def test_the_lock_is_held_once(state: StateDirectory) -> None:
    assert not state.is_locked()
    lock = state.lock()
    assert lock is not None
    assert state.is_locked()
    assert state.lock() is None
    assert not os.get_inheritable(lock)
    os.close(lock)
    assert not state.is_locked()


def test_asking_for_the_lock_of_a_directory_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert not StateDirectory(tmp_path / "none").is_locked()
    assert not (tmp_path / "none").exists()


def test_private_files_replace_what_was_readable(tmp_path: Path) -> None:
    target = tmp_path / "settings.json"
    target.write_text("old")
    target.chmod(0o644)
    write_private(target, b"new")
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
