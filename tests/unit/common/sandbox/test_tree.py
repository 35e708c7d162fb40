"""The tree of a sandbox, described: what the stage reads of it, and bytecode that Python takes without its source."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from common.sandbox.bubblewrap import DEVICES, TREE_FOLDER
from common.sandbox.stage import Description
from common.sandbox.tree import SCRATCH_FILES, Tree, bytecode, plain_tree


@pytest.mark.parametrize("scratch_bytes", [0, 1 << 20])
def test_the_stage_reads_what_was_described(scratch_bytes: int) -> None:
    tree = Tree(
        {"/python": "/usr/lib/a folder", "/ä": "/ö"}, {"/code/empty": b"", "/x": bytes(range(256))}, scratch_bytes
    )
    read = Description(tree.describe(["/usr/bin/bwrap", "", "--chdir", "/"]))
    assert read.folder == TREE_FOLDER
    assert read.binds == {**tree.binds, **{device: device for device in DEVICES}}
    assert list(read.files.items()) == list(tree.files.items())
    assert (read.scratch, read.scratch_bytes, read.scratch_files) == ("/scratch", scratch_bytes, SCRATCH_FILES)
    assert read.tree_bytes > sum(map(len, tree.files.values()))
    assert read.command == ["/usr/bin/bwrap", "", "--chdir", "/"]


def test_python_runs_the_bytecode_and_does_not_look_at_the_source(tmp_path: Path) -> None:
    source = b"said = 'bytecode'\n"
    place, compiled = bytecode(f"{tmp_path}/module.py", source)
    Path(place).parent.mkdir()
    Path(place).write_bytes(compiled)
    (tmp_path / "module.py").write_text("said = 'source'")
    command = [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]"]
    command[-1] += "; import module; print(module.said, module.__cached__)"
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["bytecode", place]


def test_all_code_of_ours_has_its_bytecode() -> None:
    files = plain_tree({"/bundle/model.py": b"import torch"}).files
    ours = {place for place in files if place.startswith("/code/") and place.endswith(".py")}
    assert len(ours) > 10
    for place in ours:
        folder, _, name = place.rpartition("/")
        compiled = files[f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"]
        assert compiled == bytecode(place, files[place])[1]
        assert compiled[8:16] == importlib.util.source_hash(files[place])
    assert not any(place.startswith("/bundle/") and "__pycache__" in place for place in files)
