"""A stack of another build starts only where it is told to take over, and the older broker is still there to be run."""

from pathlib import Path

import pytest

from common.enclave.development import make_development_release
from common.enclave.launcher import LauncherSettings
from common.enclave.measurement import measured_content
from common.enclave.roles import ROLES
from common.enclave.snapshot import remove_snapshot, take_snapshot
from common.errors import ConflictError
from common.identifiers import MrEnclave
from common.messages.signed import Signed
from deploy.embedded.earlier_builds import broker_of, find_snapshot, predecessors
from deploy.embedded.installation import require_same_build
from deploy.embedded.state import StateDirectory
from tests.fakes.installation import Installation

BROKER = ROLES["broker"]


class Stack:
    """A state directory in which another build than this checkout has run its broker."""

    def __init__(self, root: Path) -> None:
        self.state = StateDirectory(root / "state")
        self.state.prepare()
        installation = Installation.make(self.state.root, BROKER)
        code = installation.copy_of_code(BROKER, root / "code")
        source = code / "common/policy_rules.py"
        source.write_bytes(source.read_bytes() + b"# older\n")
        self.older = make_development_release(self.state.root, code_root=code, specs=[BROKER])
        content = measured_content(BROKER, code, installation.trust)
        self.snapshot = take_snapshot(content, self.state.root / "snapshots")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(tmp_path_factory.mktemp("stack"))


def test_the_older_build_is_run_from_its_snapshot_under_its_release(stack: Stack) -> None:
    with pytest.raises(ConflictError, match=r"conflict\.build"):
        require_same_build(stack.state)
    require_same_build(stack.state, hand_over=True)
    newer = make_development_release(stack.state.root, specs=[BROKER])
    (older,) = predecessors(stack.state, broker_of(newer))
    assert Signed.decode(Path(older["release_file"]).read_bytes()) == stack.older
    settings = LauncherSettings.decode(Path(older["launcher"]).read_bytes())
    assert Path(settings.code_root) == stack.snapshot
    assert settings.platform_directory == str(stack.state.root / "platform")


def test_what_was_touched_or_is_gone_is_no_build(stack: Stack) -> None:
    assert find_snapshot(stack.state, broker_of(stack.older)) == stack.snapshot
    touched = stack.snapshot / "common/policy_rules.py"
    touched.chmod(0o644)
    touched.write_bytes(touched.read_bytes() + b"# touched\n")
    assert find_snapshot(stack.state, broker_of(stack.older)) is None
    remove_snapshot(stack.snapshot)
    assert find_snapshot(stack.state, broker_of(stack.older)) is None
    assert list(predecessors(stack.state, MrEnclave("ab" * 32))) == []


def test_keys_stay_behind_only_in_the_run_that_was_told_so(stack: Stack) -> None:
    assert not stack.state.leave_behind
    for wanted in (True, False, False):
        stack.state.set_leave_behind(wanted=wanted)
        assert stack.state.leave_behind is wanted
