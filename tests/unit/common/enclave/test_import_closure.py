"""Which files an entry can import."""

from pathlib import Path

import pytest

from common.enclave.import_closure import import_closure
from common.errors import UnavailableError


def _tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / (name.replace("__", "/").replace("/init", "/__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_it_follows_every_form_of_import(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        ours__init="import ours.from_package",
        ours__from_package="",
        ours__entry="import ours.plain\nfrom ours import by_name, an_attribute\nfrom . import relative\nimport json\n"
        "def later():\n    try:\n        import ours.in_function\n    except ImportError:\n"
        "        import ours.in_handler\n    match 1:\n        case 1:\n            import ours.in_case\n"
        "with open('x') as f:\n    import ours.in_with\n",
        ours__plain="from ours.deep import thing",
        ours__deep__init="",
        ours__deep__thing="",
        ours__by_name="",
        ours__relative="",
        ours__in_function="",
        ours__in_handler="",
        ours__in_case="",
        ours__in_with="",
        ours__never="",
    )
    assert import_closure("ours.entry", root) == {
        f"ours/{name}.py"
        for name in (
            "__init__",
            "from_package",
            "entry",
            "plain",
            "deep/__init__",
            "deep/thing",
            "by_name",
            "relative",
            "in_function",
            "in_handler",
            "in_case",
            "in_with",
        )
    }


def test_a_submodule_named_by_from_import_is_found(tmp_path: Path) -> None:
    root = _tree(
        tmp_path, entry="from pack.deep import thing", pack__init="", pack__deep__init="", pack__deep__thing=""
    )
    assert "pack/deep/thing.py" in import_closure("entry", root)


def test_what_only_type_checkers_see_is_left_out(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        entry="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import hidden\nelse:\n    import seen\n",
        hidden="",
        seen="",
    )
    assert import_closure("entry", root) == {"entry.py", "seen.py"}


@pytest.mark.parametrize("text", [None, "def broken(:\n"])
def test_an_entry_that_is_absent_or_broken_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        _tree(tmp_path, entry=text)
    with pytest.raises(UnavailableError):
        import_closure("entry", tmp_path)


def test_packages_of_others_that_lie_beside_ours_are_not_followed(tmp_path: Path) -> None:
    """As in site-packages, where an installed command finds its own code."""
    root = _tree(tmp_path, ours__init="", ours__entry="import theirs.part, ours.part", theirs__init="", ours__part="")
    _tree(root, theirs__part="")
    assert import_closure("ours.entry", root, ["ours"]) == {"ours/__init__.py", "ours/entry.py", "ours/part.py"}
    assert "theirs/part.py" in import_closure("ours.entry", root)
