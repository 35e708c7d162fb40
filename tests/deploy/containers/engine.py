"""This machine's Docker engine, for tests that need one (side: library): where none answers, they skip and say so."""

import os
import shutil
import subprocess
from typing import Final

import pytest

from tests.deploy.compose_file import read_compose

DOCKER: Final = shutil.which("docker") or "/usr/bin/docker"
ENGINE: Final = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
TRAINER_IMAGE: Final = f"cloister/trainer:{os.environ.get('CLOISTER_TAG', 'dev')}"
_PREPARED = {
    "CLOISTER_UID": "1", "CLOISTER_GID": "1", "CLOISTER_COMPOSE_STATE": "/", "CLOISTER_ENGINE_GID": "1",
    "CLOISTER_ENGINE_SOCKET": "/",
}  # fmt: skip


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    """`docker WORDS`."""
    return subprocess.run([DOCKER, *words], capture_output=True, text=True, check=False)


def require_engine() -> None:
    """Skip where no engine answers."""
    if not shutil.which(DOCKER) or docker("info").returncode:
        pytest.skip("no Docker engine answers")


def require_images(*images: str) -> None:
    """Skip, naming the images that are not here."""
    if missing := [image for image in sorted(images) if docker("image", "inspect", image).returncode]:
        pytest.skip(f"images are not here: {', '.join(missing)}")


def require_stack() -> None:
    """Skip, saying what the stack lacks: engine, plugin or images of what comes up without a profile."""
    require_engine()
    if docker("compose", "version").returncode:
        pytest.skip("Docker has no plugin `compose`")
    services = read_compose(dict(os.environ) | _PREPARED)["services"]
    require_images(*{one["image"] for one in services.values() if not one.get("profiles")})
