"""deploy/kubernetes as `kubectl apply -k` sees it, for an installation that was prepared for a test."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kubernetes.preparation import prepare

Object = dict[str, Any]


def render(directory: Path, overlay: str) -> list[Object]:
    """Every object. Skips where nothing renders a kustomization: no package of the distribution is new enough."""
    tools = [["kustomize", "build"], ["kubectl", "kustomize"]]
    tool = next((tool for tool in tools if shutil.which(tool[0])), None)
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is there")
    done = subprocess.run([*tool, str(prepare(directory, overlay))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, Loader=yaml.SafeLoader) if one]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod template of everything that runs."""
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All of a pod."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
