"""The suite of attacks on the `wasm` sandbox passes in an enclave under `gramine-direct`.

The enclave is the trainer's, manifest and toolchain, with another program: pytest with that suite
(tests/security/sandbox/inside_enclave.py), whose files are trusted files like all others. There every access is checked
in code, without signals and guard pages (common/sandbox/wasm/engine.py, `CHECKED`). Every test that runs elsewhere runs
inside: their names are compared.

Without Gramine it is skipped, which stands in the summary.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from client.measuring import CODE_ROOT
from common.enclave.environment import Environment
from common.enclave.import_closure import import_closure
from common.enclave.measurement import GRAMINE_BOOT_FILE
from common.enclave.roles import ROLES, RoleSpec
from common.identifiers import RoleName
from deploy.enclaves import tools
from deploy.enclaves.building import EnclaveFolder
from deploy.enclaves.closure import CODE, foreign_files
from deploy.enclaves.rendering import render, template_of
from deploy.enclaves.staging import stage
from tests.conftest import Say
from tests.security.sandbox.attacks.wasm_python import BUILT, build_everything

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which(tools.DIRECT_TOOL) is None, reason="Gramine is not installed"),
    pytest.mark.timeout(2400),
]

ATTACKED: Final = RoleSpec(role=RoleName("attacked"), entry="tests.security.sandbox.inside_enclave", needs_sandbox=True)
OURS: Final = ("bench", "client", "common", "deploy", "services", "tests")
SUITE: Final = "tests/security/sandbox/test_attack_wasm_*.py"
HOSTILE: Final = "tests/security/sandbox/hostile_bundle"
"""Read as files by the suite's control of a native bundle."""

SECONDS: Final = 2000.0


def own_files() -> dict[str, bytes]:
    """The suite, and all of ours that it imports."""
    names = import_closure(ATTACKED.entry, CODE_ROOT, OURS) | {GRAMINE_BOOT_FILE}
    names |= {f"{HOSTILE}/{path.name}" for path in (CODE_ROOT / HOSTILE).glob("*.py")}
    content = {name: (CODE_ROOT / name).read_bytes() for name in names}
    return content | {BUILT.relative_to(CODE_ROOT).as_posix(): build_everything()}


def with_another_program(template: Path, place: Path) -> Path:
    """The trainer's template, which starts the suite."""
    text = template.read_text()
    assert text.count(ROLES["trainer"].entry) == 1
    place.write_text(text.replace(ROLES["trainer"].entry, ATTACKED.entry))
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> EnclaveFolder:
    """An enclave of the suite, as `deploy.enclaves.building` builds those of roles."""
    made = EnclaveFolder(tmp_path_factory.mktemp("enclaves"), ATTACKED.role)
    found = foreign_files(ATTACKED, CODE_ROOT, Environment.current(), tools.runtime_directory(), OURS)
    files = stage(made.root, found, {f"{CODE}/{name}": content for name, content in own_files().items()})
    template = with_another_program(template_of(ROLES["trainer"], CODE_ROOT), made.place / "template")
    made.rendered.write_bytes(render(template, files))
    tools.complete_manifest(made.rendered, made.manifest)
    return made


@pytest.fixture(scope="module")
def told(folder: EnclaveFolder, say: Say) -> list[dict[str, Any]]:
    """The lines that the enclave says."""
    done = subprocess.run(
        [tools.DIRECT_TOOL, ATTACKED.role],
        cwd=folder.place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr[-2000:]
    for line in lines:
        if line.get("outcome", "passed") != "passed":
            say(f"{line['name']}: {line['outcome']}\n{line['text']}")
    return lines


def expected_names() -> set[str]:
    """Every test of the suite, as pytest collects it here."""
    files = map(str, CODE_ROOT.glob(SUITE))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header", *files]
    done = subprocess.run(command, cwd=CODE_ROOT, capture_output=True, text=True, check=True)
    return {line.rpartition("/")[2] for line in done.stdout.splitlines() if "::" in line}


def test_the_enclave_is_one_whose_engine_checks_every_access(told: list[dict[str, Any]]) -> None:
    assert told[0] == {"gramine": True, "checked": True}


def test_every_attack_of_the_suite_is_played_inside_and_blocked(told: list[dict[str, Any]]) -> None:
    tests = [line for line in told if "name" in line]
    assert [line for line in tests if line["outcome"] != "passed"] == []
    assert {line["name"] for line in tests} == expected_names()
    assert told[-1] == {"status": 0}
