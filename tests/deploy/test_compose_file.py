"""What docker-compose.yml promises of every container, by what stands in it."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from client.measuring import CODE_ROOT
from common.errors import ConflictError
from common.untrusted.settings import HostSettings
from deploy.compose.preparation import prepare
from services.attestation.settings import AttestationSettings
from services.enclave_launcher.settings import EnclaveLauncherSettings
from services.ingest.settings import IngestSettings
from services.paramserver.settings import ParamserverSettings
from services.query_enclave.settings import FrontSettings, QueryWorkerSettings
from services.trainer_enclave.settings import TrainerSettings
from tests.deploy.compose_file import FILE, read_compose

PREPARED = {
    "CLOISTER_UID": "1000",
    "CLOISTER_GID": "1000",
    "CLOISTER_COMPOSE_STATE": "/prepared",
    "CLOISTER_ENGINE_SOCKET": "/engine",
    "CLOISTER_ENGINE_GID": "999",
}
DOCUMENT = read_compose(PREPARED)
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
PROFILE = json.loads((CODE_ROOT / "deploy/compose/seccomp-confining.json").read_text())
CONFINING = {"query-worker"}
ONE_SHOT = {"installation"}
WITHOUT_NETWORK = {"installation", "launcher"}
WATCHING = {"prometheus", "grafana"}
IMAGES = ("RABBITMQ", "REDIS", "POSTGRES", "PYTHON", "PROMETHEUS", "GRAFANA")
PORTS = {"attestation": 8440, "ingest": 8441, "query": 8442}
SETTINGS: dict[str, type[HostSettings]] = {
    "attestation": AttestationSettings,
    "ingest": IngestSettings,
    "launcher": EnclaveLauncherSettings,
    "trainer": TrainerSettings,
    "paramserver": ParamserverSettings,
    "query": FrontSettings,
    "query-worker": QueryWorkerSettings,
}
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_stack_is_whole() -> None:
    assert set(SERVICES) == {"rabbitmq", "redis", "postgres", "witness", *ONE_SHOT, *WATCHING, *SETTINGS}


@pytest.mark.parametrize("missing", PREPARED)
def test_nothing_starts_before_it_is_prepared(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        read_compose({name: value for name, value in PREPARED.items() if name != missing})


@each_service
def test_a_container_has_no_right_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    forbidden = {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode", "cgroup_parent", "extra_hosts"}
    assert forbidden & service.keys() == set()
    assert ("group_add" in service) == (name == "launcher")


def test_the_engines_socket_is_where_no_network_is() -> None:
    """Whoever has it is root on the machine: one container, reached by the trainer alone, over another socket."""
    assert {name for name, one in SERVICES.items() if re.search("engine|docker.sock", json.dumps(one))} == {"launcher"}
    assert SERVICES["launcher"]["network_mode"] == "none"
    mounted = {name for name, one in SERVICES.items() if any("launch:" in text for text in one.get("volumes", []))}
    assert mounted == {"launcher", "trainer"}
    assert SERVICES["launcher"]["command"][0] == f"--image={SERVICES['trainer']['image']}"


def test_trainers_hold_nothing_of_the_simulated_platform() -> None:
    assert not any("installation" in text for text in SERVICES["trainer"]["volumes"])


@each_service
def test_a_container_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["cpus"] <= 2
    assert 0 < service["pids_limit"] <= 512
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert all("size=" in one for one in service["tmpfs"])


@each_service
def test_a_container_comes_back_and_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    test = service["healthcheck"]["test"]
    assert test[0] == "CMD"
    if "build" in service:
        assert test[-2:] == ["deploy/compose/health.py", str(PORTS.get(name, 8440))]


def test_what_watches_is_started_by_its_profile_alone() -> None:
    profiles = {name: tuple(one["profiles"]) for name, one in SERVICES.items() if "profiles" in one}
    assert profiles == dict.fromkeys(WATCHING, ("observability",))


@each_service
def test_a_service_waits_until_what_it_needs_is_well(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        if (name, needed) == ("witness", "attestation"):  # each waits for the other's word
            expected = "service_started"
        assert how == {"condition": expected}, needed


@each_service
def test_images_are_pinned_by_version_and_take_a_digest(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z/-]+:(?!latest)[\w.-]+", image)
    digests = {f"{one}_DIGEST": "@sha256:" + "0" * 64 for one in IMAGES}
    pinned = read_compose(PREPARED | digests)["services"][name]
    if "build" in pinned:
        assert pinned["build"]["args"]["PYTHON_DIGEST"].startswith("@sha256:")
        assert pinned["build"]["args"]["BUILD_IMAGE"].endswith("0" * 64)
    else:
        assert pinned["image"].endswith("0" * 64)
        assert re.search(r":v?\d+\.\d+\.\d+|:\d+\.\d+-", image)  # PostgreSQL's versions have two parts


def test_networks_part_front_brokers_and_enclaves() -> None:
    networks = DOCUMENT["networks"]
    assert {name for name, one in networks.items() if one.get("internal")} == {"back", "enclave", "watch"}
    on = {name: set(one.get("networks", ())) for name, one in SERVICES.items()}
    assert {name for name, nets in on.items() if "front" in nets} == {*PORTS, "grafana"}
    assert {name for name, nets in on.items() if "watch" in nets} == WATCHING
    assert all(on[name] == {"back"} for name in ("rabbitmq", "redis", "postgres"))
    assert on["witness"] == {"enclave"}
    assert {name for name, one in SERVICES.items() if one.get("network_mode") == "none"} == WITHOUT_NETWORK


@each_service
def test_only_fronts_are_published_and_on_the_loopback_alone(name: str) -> None:
    published = SERVICES[name].get("ports", [])
    own = PORTS.get(name, 3000)
    assert published == ([f"127.0.0.1:{own}:{own}"] if name in {*PORTS, "grafana"} else [])


@each_service
def test_secrets_are_files_and_stand_nowhere_else(name: str) -> None:
    service, known = SERVICES[name], DOCUMENT["secrets"]
    used = [one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])]
    assert set(used) <= known.keys()
    assert len(used) == len(set(used))
    said = json.dumps([service.get(part) for part in ("environment", "command", "build", "labels")]).lower()
    assert not re.search(r"(password|secret|token|pass)\b(?!_file)", said.replace("/run/secrets", ""))
    assert "env_file" not in service


def test_every_secret_is_a_prepared_file_and_is_used() -> None:
    used = {
        one if isinstance(one, str) else one["source"]
        for service in SERVICES.values()
        for one in service.get("secrets", [])
    }
    assert used == DOCUMENT["secrets"].keys()
    assert DOCUMENT["secrets"] == {name: {"file": f"/prepared/secrets/{name}"} for name in used}


def test_a_key_is_mounted_where_it_is_used_alone() -> None:
    where: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for one in service.get("secrets", []):
            where.setdefault(one if isinstance(one, str) else one["source"], set()).add(name)
    shared = {"authority.pem", "operator_key.json"}
    assert {secret: users for secret, users in where.items() if len(users) > 1 and secret not in shared} == {}
    assert where["operator_key.json"] == {"ingest", "trainer", "paramserver", "query-worker"}


def test_only_what_confines_has_the_wider_profile() -> None:
    wider = {
        name for name, one in SERVICES.items() if any("no-new-privileges" not in text for text in one["security_opt"])
    }
    assert wider == CONFINING
    for name in CONFINING:
        assert SERVICES[name]["security_opt"][1] == "seccomp=deploy/compose/seccomp-confining.json"


# What Docker's default profile keeps from a container without capabilities (docs.docker.com, "Seccomp security profiles
# for Docker", table of blocked calls), and what is newer.
DOCKER_FORBIDS = {
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "clone", "clone3", "create_module",
    "delete_module", "finit_module", "get_kernel_syms", "init_module", "ioperm", "iopl", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "move_pages", "name_to_handle_at",
    "nfsservctl", "open_by_handle_at", "perf_event_open", "personality", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "query_module", "quotactl", "reboot", "request_key", "sethostname",
    "setdomainname", "setns", "settimeofday", "stime", "swapon", "swapoff", "sysfs", "_sysctl", "umount",
    "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vm86", "vm86old", "syslog", "vhangup", "chroot",
    "fanotify_init", "mknod", "mknodat", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "quotactl_fd",
    "pidfd_getfd", "process_madvise", "fanotify_mark",
}  # fmt: skip
BUBBLEWRAP_NEEDS = {"clone", "unshare", "mount", "umount2", "pivot_root", "sethostname"}


def test_the_wider_profile_adds_what_bubblewrap_needs_and_no_more() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [name for rule in PROFILE["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    assert len(allowed) == len(set(allowed))
    assert set(allowed) & DOCKER_FORBIDS == BUBBLEWRAP_NEEDS
    refused = [rule for rule in PROFILE["syscalls"] if rule["action"] != "SCMP_ACT_ALLOW"]
    assert [(rule["names"], rule["errnoRet"]) for rule in refused] == [(["clone3"], 38)]
    (socket,) = (rule for rule in PROFILE["syscalls"] if "socket" in rule["names"])
    assert socket["args"] == [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]


def test_images_have_no_compiler_and_run_as_nobody_in_particular() -> None:
    text = (CODE_ROOT / "deploy/images/Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    heads = {re.search(r"AS ([\w-]+)", stage).group(1): stage for stage in stages}  # type: ignore[union-attr]
    assert {one["build"]["target"] for one in SERVICES.values() if "build" in one} <= heads.keys()
    assert not re.search(r"\b(gcc|g\+\+|build-essential|clang|make)\b", text)
    for name, stage in heads.items():
        if name not in {"packages", "packages-torch"}:
            assert "pip" not in stage.replace("--from=packages", ""), name
            users = re.findall(r"^USER (\S+)", stage, flags=re.MULTILINE)
            assert users[-1:] in ([], ["10001:10001"]), name
    assert re.search(r"ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm\nARG PYTHON_DIGEST=", text)
    assert (CODE_ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_compose_takes_the_file_from_the_top() -> None:
    assert FILE == CODE_ROOT / "docker-compose.yml"


# -------------------------------------------------------------------------------------------- cloister compose prepare


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "engine").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
    prepare(tmp_path / "state", tmp_path / ".env", PORTS)
    return tmp_path


def test_every_file_of_the_stack_is_prepared_for_its_user_alone(prepared: Path) -> None:
    secrets = prepared / "state" / "secrets"
    assert {path.name for path in secrets.iterdir()} == DOCUMENT["secrets"].keys()
    user = os.geteuid() or 10_001
    for path in secrets.iterdir():
        assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, user), path.name
    assert (prepared / "state").stat().st_mode & 0o777 == 0o700
    environment = dict(line.split("=") for line in (prepared / ".env").read_text().splitlines()[1:])
    assert environment == {
        "CLOISTER_UID": str(user),
        "CLOISTER_GID": str(os.getegid() if os.geteuid() else 10_001),
        "CLOISTER_COMPOSE_STATE": str(prepared / "state"),
        "CLOISTER_ENGINE_SOCKET": str(prepared / "engine"),
        "CLOISTER_ENGINE_GID": str(os.getegid()),
        **{f"CLOISTER_{name.upper()}_PORT": str(port) for name, port in PORTS.items()},
    }
    read_compose(environment)


def test_what_is_prepared_is_kept(prepared: Path) -> None:
    def kept() -> dict[str, bytes]:
        salted = {"rabbitmq_definitions.json"}
        return {
            path.name: path.read_bytes()
            for path in (prepared / "state" / "secrets").iterdir()
            if path.name not in salted
        }

    before = kept()
    prepare(prepared / "state", prepared / ".env", PORTS)
    assert kept() == before


def test_services_read_their_settings(prepared: Path) -> None:
    for name, kind in SETTINGS.items():
        settings = kind.read(prepared / "state" / "secrets" / f"{name}_settings.json")
        if name == "launcher":
            continue
        assert settings.model_dump()["database_url"].endswith(
            "sslmode=verify-full&sslrootcert=%2Frun%2Fsecrets%2Fauthority.pem"
        )
        for part in ("amqp_url", "redis_url"):
            address = settings.model_dump().get(part, "amqps://")
            assert address.startswith(("amqps://", "rediss://"))


def test_no_password_is_in_two_services(prepared: Path) -> None:
    passwords = [path.read_text() for path in (prepared / "state" / "credentials").iterdir()]
    assert len(set(passwords)) == len(passwords) == 10
    for name in ("rabbitmq_definitions.json", "rabbitmq.conf", "redis.conf"):
        text = (prepared / "state" / "secrets" / name).read_text()
        assert not any(password in text for password in passwords), name


def test_replicas_of_a_worker_have_names_of_their_own(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prepared / "state" / "secrets" / "trainer_settings.json"
    names = set()
    for host in ("a1", "b2"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        names.add(TrainerSettings.read(path).worker_name)
    assert names == {"trainer-a1", "trainer-b2"}


def test_an_environment_file_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    with pytest.raises(ConflictError):
        prepare(tmp_path / "state", tmp_path / ".env", PORTS)
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
