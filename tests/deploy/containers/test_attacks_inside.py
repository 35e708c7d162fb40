"""The attack tables of provider code, played in the container that trainer enclaves are launched in."""

import json
import os
import sysconfig
from pathlib import Path

import docker
import pytest

from bench.sandbox import LEAST_ATTACKS
from client.measuring import CODE_ROOT
from common.identifiers import RoleName
from common.untrusted.launching.containers import container_of
from common.untrusted.launching.settings import ContainerLauncherSettings, Mount
from tests.conftest import Say
from tests.deploy.containers.engine import ENGINE, TRAINER_IMAGE, require_engine, require_images

pytestmark = pytest.mark.timeout(1200)

USER = os.geteuid() or 10_001
PACKAGES = "/opt/cloister/venv/lib/python3.11/site-packages"
BUILDER = Path(sysconfig.get_paths()["platlib"]) / "componentize_py"
"""What providers build components with, and no enclave: the wasm attacks are built in the container."""

PROGRAM = """
import json
from dataclasses import asdict
from pathlib import Path
from bench.sandbox import measure_attacks
Path("{file}").write_text(json.dumps(asdict(measure_attacks(outside=False))))
"""
"""That they succeed without a sandbox is shown outside (tests/security/sandbox): a container confines, too."""


def test_every_attack_is_blocked_inside(tmp_path: Path, say: Say) -> None:
    """As that container in all but its command, which runs the checkout's code and writes its figures to a folder."""
    require_engine()
    require_images(TRAINER_IMAGE)
    told = tmp_path / "told"
    told.mkdir()
    os.chown(told, USER, USER)
    settings = ContainerLauncherSettings(
        engine=ENGINE,
        image=TRAINER_IMAGE,
        roles=(RoleName("trainer"),),
        launcher="/none",
        mounts=(
            Mount(source=str(CODE_ROOT), target=str(CODE_ROOT)),
            Mount(source=str(told), target=str(told), writable=True),
            Mount(source=str(BUILDER), target=f"{PACKAGES}/{BUILDER.name}"),
        ),
        user=f"{USER}:{USER}",
        seccomp_profile=str(CODE_ROOT / "deploy/compose/seccomp-confining.json"),
    )
    code = PROGRAM.format(file=told / "figures.json")
    inside = container_of(settings, "trainer") | {
        "Entrypoint": ["python", "-P", "-c", code],
        "Cmd": [],
        "Env": [f"PYTHONPATH={CODE_ROOT}"],
        "WorkingDir": str(CODE_ROOT),
        "Labels": {},
    }
    inside["HostConfig"] |= {"AutoRemove": False, "LogConfig": {"Type": "json-file"}}
    engine = docker.APIClient(f"unix://{ENGINE}", timeout=60)
    container = engine.create_container_from_config(inside)["Id"]
    try:
        engine.start(container)
        status = engine.wait(container, timeout=1100)["StatusCode"]
        said = engine.logs(container).decode(errors="replace")
    finally:
        engine.remove_container(container, force=True)
    assert (told / "figures.json").exists(), said[-4000:]
    figures = json.loads((told / "figures.json").read_bytes())
    say(f"attacks blocked in the trainer's container: {figures['attacks_blocked']} of {figures['attacks_total']}")
    assert figures["attacks_got_through"] == [], said[-4000:]
    assert all(figures[name] >= least for name, least in LEAST_ATTACKS.items())
    assert status == 0
