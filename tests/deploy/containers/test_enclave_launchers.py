"""An enclave is the same whoever launches it: as a process, as a container, or at the word of one who asks for it."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.door import Door
from common.enclave.development import CODE_ROOT, development_trust_settings, launcher_settings
from common.enclave.launcher import EXIT_REFUSED
from common.errors import ConfinementError, NotFoundError, PeerClosedError, UnavailableError
from common.identifiers import RoleName
from common.untrusted.launching import EnclaveLauncher, LaunchedEnclave, launcher_of
from common.untrusted.launching.containers import ContainerLauncher, container_of
from common.untrusted.launching.settings import ContainerLauncherSettings, LaunchSocketSettings, Mount
from common.untrusted.relay import EnclaveRelay
from services.enclave_launcher.app import listen, serve
from services.enclave_launcher.launching import LaunchDesk
from tests.deploy.containers.engine import ENGINE, TRAINER_IMAGE, docker, require_engine, require_images
from tests.fakes.installation import ENDS_WITHIN_SECONDS, PROBE, bring_digests

pytestmark = pytest.mark.timeout(300)

PROFILE = CODE_ROOT / "deploy/compose/seccomp-confining.json"
USER = os.geteuid() or 10_001
MOST = 2


@dataclass(frozen=True)
class Places:
    """One installation, and a settings file for each way into it."""

    state: Path
    files: dict[str, Path]
    containers: ContainerLauncherSettings


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """State in a folder that containers see at the same path, and other state for processes: another user's."""
    place = tmp_path_factory.mktemp("launching")
    process, state = installed(place / "processes"), place / "containers"
    inside = installed(state)
    containers = ContainerLauncherSettings(
        engine=ENGINE,
        image=TRAINER_IMAGE,
        roles=(RoleName("probe"), RoleName("trainer")),
        launcher=str(inside),
        mounts=(
            Mount(source=str(state), target=str(state), writable=True),
            Mount(source=str(CODE_ROOT), target=str(CODE_ROOT)),
        ),
        user=f"{USER}:{USER}",
        seccomp_profile=str(PROFILE),
    )
    (state / "containers.json").write_bytes(containers.encode())
    (state / "socket.json").write_bytes(LaunchSocketSettings(socket=str(state / "socket")).encode())
    if os.geteuid() == 0:
        for path in (state, *state.rglob("*")):
            os.chown(path, USER, USER)
    files = {"process": process, "container": state / "containers.json", "socket": state / "socket.json"}
    return Places(state, files, containers)


def installed(state: Path) -> Path:
    """A simulated platform; the settings file of the process launcher on it."""
    bring_digests(state)
    (state / "release").mkdir()
    (state / "release" / "trust_settings.json").write_bytes(development_trust_settings(state).encode())
    path = state / "launcher.json"
    path.write_bytes(launcher_settings(state, roles=(PROBE,)).encode())
    return path


@pytest.fixture(scope="module")
def desk(places: Places) -> LaunchDesk:
    """Serves the socket."""
    require_engine()
    require_images(TRAINER_IMAGE)
    desk = LaunchDesk(ContainerLauncher(places.containers), MOST)
    threading.Thread(target=serve, args=(listen(places.state / "socket"), desk), daemon=True).start()
    return desk


@pytest.fixture(params=["process", "container", "socket"])
def settings(request: pytest.FixtureRequest, places: Places) -> Path:
    """The settings file of each launcher in turn."""
    if request.param != "process":
        request.getfixturevalue("desk")
    return places.files[request.param]


@dataclass(frozen=True)
class Running:
    """An enclave behind its door."""

    enclave: LaunchedEnclave
    door: Door


@contextlib.contextmanager
def launched(launcher: EnclaveLauncher, role: str = "probe") -> Iterator[Running]:
    enclave = launcher.launch(role)
    door = Door(enclave.reader, enclave.writer, {})
    reader = threading.Thread(target=door.serve)
    reader.start()
    try:
        yield Running(enclave, door)
    finally:
        enclave.writer.close()
        with contextlib.suppress(TimeoutError):
            enclave.wait(ENDS_WITHIN_SECONDS)
        enclave.kill()
        enclave.wait()
        reader.join()
        enclave.reader.close()


def require_ends(descriptor: int) -> None:
    ended, _, _ = select.select([descriptor], [], [], ENDS_WITHIN_SECONDS)
    os.close(descriptor)
    assert ended


# ------------------------------------------------------------------------------------------------- the same for each


def test_its_door_carries_what_it_is_given(settings: Path) -> None:
    with launched(launcher_of(settings)) as running:
        assert len(running.door.call("measurement", b"")) == 64
        body = os.urandom(3 << 20)
        for _ in range(3):
            assert running.door.call("echo", body) == body


def test_it_sees_nothing_of_its_host(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_CANARY", "a secret of the relay")
    with launched(launcher_of(settings)) as running:
        seen = json.loads(running.door.call("surroundings", b""))
    assert (seen["environ"], seen["isolated"], seen["core"], seen["dumpable"]) == ({}, [1, 1, 1], [0, 0], 0)
    descriptors = {number: target for number, target in seen["descriptors"].items() if "/proc/" not in target}
    assert descriptors.keys() <= {"0", "1", "2", "3", "4"}
    assert [descriptors[number].split(":")[0] for number in "0123"] == ["pipe", "pipe", "/dev/null", "socket"]


def test_it_ends_when_its_door_closes(settings: Path) -> None:
    with launched(launcher_of(settings)) as running:
        running.door.call("measurement", b"")
        running.enclave.writer.close()
        assert running.enclave.wait(ENDS_WITHIN_SECONDS) == 0


def test_its_exit_status_is_told(settings: Path) -> None:
    with launched(launcher_of(settings)) as running:
        with pytest.raises(PeerClosedError):
            running.door.call("exit", b"7")
        assert running.enclave.wait(ENDS_WITHIN_SECONDS) == 7


def test_it_can_be_killed(settings: Path) -> None:
    with launched(launcher_of(settings)) as running:
        running.door.call("measurement", b"")
        with pytest.raises(TimeoutError):
            running.enclave.wait(0.1)
        running.enclave.kill()
        assert running.enclave.wait(ENDS_WITHIN_SECONDS) == 137
        assert running.door.closed.wait(ENDS_WITHIN_SECONDS)


def test_an_unknown_role_is_refused(settings: Path) -> None:
    if settings.name == "launcher.json":
        with launched(launcher_of(settings), "nobody") as running:
            assert running.enclave.wait(ENDS_WITHIN_SECONDS) == EXIT_REFUSED
        return
    with pytest.raises(NotFoundError, match=r"not_found\.role"):
        launcher_of(settings).launch("nobody")


def test_it_dies_with_whoever_launched_it(settings: Path) -> None:
    command = [sys.executable, "-c", _CALLER, str(settings)]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CODE_ROOT)
    assert caller.stdout is not None
    descriptor = os.pidfd_open(int(caller.stdout.readline()))
    caller.kill()
    caller.wait()
    caller.stdout.close()
    require_ends(descriptor)


_CALLER = """
import sys, threading
from pathlib import Path
from common.door import Door
from common.untrusted.launching import launcher_of
enclave = launcher_of(Path(sys.argv[1])).launch("probe")
door = Door(enclave.reader, enclave.writer, {})
threading.Thread(target=door.serve, daemon=True).start()
door.call("measurement", b"")
print(enclave.pid, flush=True)
threading.Event().wait()
"""


def test_a_relay_hears_its_launchers_events_and_its_end(settings: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gone = threading.Event()
    relay = EnclaveRelay("probe", settings, {}, on_exit=gone.set)
    assert relay.call("measurement", b"")
    relay.stop()
    assert gone.wait(ENDS_WITHIN_SECONDS)
    said = capfd.readouterr().err
    assert '"event":"enclave_started","role":"probe","mr_enclave"' in said.replace(", ", ",")


def test_a_trainer_enclave_can_confine_provider_code(settings: Path) -> None:
    relay = EnclaveRelay("trainer", settings, {})
    try:
        relay.call("status", b"", seconds=120)
    finally:
        relay.stop()


# ------------------------------------------------------------------------------------------------- containers alone


def test_under_dockers_own_profile_provider_code_is_refused(places: Places, desk: LaunchDesk) -> None:
    plain = places.state / "plain.json"
    plain.write_bytes(places.containers.model_copy(update={"seccomp_profile": None}).encode())
    relay = EnclaveRelay("trainer", plain, {})
    try:
        with pytest.raises(ConfinementError, match=r"confinement\."):
            relay.call("status", b"", seconds=120)
    finally:
        relay.stop()


def test_its_container_is_as_narrow_as_it_can_be(places: Places, desk: LaunchDesk) -> None:
    with launched(launcher_of(places.files["socket"])) as running:
        running.door.call("measurement", b"")
        process = Path(f"/proc/{running.enclave.pid}")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        assert [int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")] == [0, 0, 0]
        assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", str(USER))
        interfaces = (process / "net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
        writable = {line[4] for line in mounts if "rw" in line[5].split(",")}
        roots = {"/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup"}  # what lies there is root's
        assert writable - roots == {"/tmp", str(places.state)}
        assert next(line[5] for line in mounts if line[4] == "/").startswith("ro")
    assert not docker("ps", "-aq", "--filter", "label=cloister.enclave=probe").stdout.split()


def test_what_it_is_stands_in_settings_alone(places: Places) -> None:
    made = container_of(places.containers, "trainer")
    host = made["HostConfig"]
    assert made["NetworkDisabled"]
    assert (host["NetworkMode"], host["LogConfig"], host["IpcMode"]) == ("none", {"Type": "none"}, "none")
    assert "Runtime" not in host
    assert host["Devices"] == []
    tee = places.containers.model_copy(update={"runtime": "runsc", "devices": ("/dev/sgx_enclave",)})
    there = container_of(tee, "trainer")["HostConfig"]
    assert there["Runtime"] == "runsc"
    assert [one["PathOnHost"] for one in there["Devices"]] == ["/dev/sgx_enclave"]
    plain = container_of(places.containers.model_copy(update={"seccomp_profile": None}), "trainer")["HostConfig"]
    assert plain["SecurityOpt"] == ["no-new-privileges"]
    assert "MaskedPaths" not in plain


def test_no_engine_is_a_refusal(places: Places, tmp_path: Path) -> None:
    nowhere = places.containers.model_copy(update={"engine": str(tmp_path / "none")})
    with pytest.raises(UnavailableError, match=r"unavailable\.launcher"):
        ContainerLauncher(nowhere).launch("probe")
    missing = tmp_path / "socket.json"
    missing.write_bytes(LaunchSocketSettings(socket=str(tmp_path / "none")).encode())
    for settings in (missing, tmp_path / "no.json"):
        with pytest.raises(UnavailableError, match=r"unavailable\.launcher"):
            launcher_of(settings).launch("probe")


def test_an_image_that_is_not_there_is_a_refusal(places: Places, desk: LaunchDesk) -> None:
    missing = places.containers.model_copy(update={"image": "cloister/nothing:none"})
    with pytest.raises(UnavailableError, match=r"unavailable\.launcher"):
        ContainerLauncher(missing).launch("probe")


# ------------------------------------------------------------------------------------------ whoever asks at the socket


def test_its_socket_is_its_users_alone(places: Places, desk: LaunchDesk) -> None:
    assert (places.state / "socket").stat().st_mode & 0o777 == 0o600


def test_a_caller_gets_so_many_enclaves_and_no_more(places: Places, desk: LaunchDesk) -> None:
    launcher = launcher_of(places.files["socket"])
    with launched(launcher), launched(launcher), pytest.raises(UnavailableError):
        launcher.launch("probe")
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while True:  # a seat is free when its enclave is gone
        try:
            with launched(launcher) as running:
                assert running.door.call("measurement", b"")
            break
        except UnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.parametrize(
    "hello", [b"", b"probe\0", b"../probe", b"\xff" * 64, b"x" * 4096, b"probe --settings /etc/passwd"]
)
def test_a_caller_who_says_anything_else_gets_nothing(places: Places, desk: LaunchDesk, hello: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(str(places.state / "socket"))
        caller.sendall(hello)
        caller.shutdown(socket.SHUT_WR)
        answer, doors, _, _ = socket.recv_fds(caller, 256, 4)
    assert doors == []
    assert answer in (b"", b"\1not_found.role")


def test_its_door_is_no_way_to_the_engine(places: Places, desk: LaunchDesk) -> None:
    """Its bytes are the enclave's input: a request to the engine's API gets no answer of the engine's."""
    enclave = launcher_of(places.files["socket"]).launch("probe")
    with contextlib.suppress(OSError):
        enclave.writer.write(b"GET /containers/json HTTP/1.1\r\nhost: docker\r\n\r\n")
    enclave.writer.close()
    answer = enclave.reader.read()
    assert enclave.wait(ENDS_WITHIN_SECONDS) == 0
    enclave.reader.close()
    assert b"HTTP/1." not in answer


def test_whoever_asks_needs_no_docker(places: Places) -> None:
    """The worker's process imports no client of an engine's."""
    code = (
        "import sys; from pathlib import Path; from common.untrusted.launching import launcher_of; "
        f"launcher_of(Path({str(places.files['socket'])!r})); print('docker' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CODE_ROOT)
    assert done.stdout.strip() == "False"
