"""common/sandbox/probe and what it finds: a refusal names the command that helps."""

import sys

import pytest

from common.errors import ConfinementError
from common.sandbox import bubblewrap, interpreter, probe
from common.sandbox.probe import explain_failure, require_confinement, require_sealed_memory


def test_the_walls_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "landlock_abi", lambda: 0)
    assert "no Landlock" in probe.sandbox_walls()
    monkeypatch.setattr(probe, "landlock_abi", lambda: 7)
    assert "ABI 7" in probe.sandbox_walls()


def test_this_machine_confines() -> None:
    require_sealed_memory()
    require_confinement()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("bwrap: No permissions to create new namespace, likely because ...", "confinement.user_namespaces"),
        ("OSError: [Errno 1] unshare: Operation not permitted", "confinement.user_namespaces"),
        ("bwrap: setting up uid map: Permission denied", "confinement.user_namespaces"),
        ("PermissionError: [Errno 1] mount: Operation not permitted", "confinement.user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "confinement.failed"),
        ("", "confinement.failed"),
    ],
)
def test_a_failure_is_explained(said: str, code: str) -> None:
    assert explain_failure(said).code == code


def test_a_machine_without_bubblewrap_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_PLACES", ("/nonexistent/bwrap",))
    with pytest.raises(ConfinementError, match="apt-get install bubblewrap"):
        bubblewrap.find_bubblewrap()


def test_a_path_without_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nonexistent"])
    with pytest.raises(ConfinementError) as refused:
        interpreter.find_binds()
    assert refused.value.expected == "torch in one of the folders of sys.path"


def test_only_what_is_needed_is_bound() -> None:
    places = set(interpreter.find_binds())
    assert "/packages/torch" in places
    assert not {
        place for place in places if "cryptography" in place or "pydantic" in place or place.startswith("/code")
    }
