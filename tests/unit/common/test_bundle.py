"""common/bundle and common/bundle_packing: what a bundle may be, and what packing refuses."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from common.bundle import MAX_CONTENT_BYTES, BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.bundle_packing import measure_layout, pack_bundle, read_bundle_directory
from common.errors import FormatError

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "providers" / "digits_cnn"

DESCRIPTION = """
name = "tiny"
bundle_version = "1"
entry = "tiny:Tiny"
input = { column = "x", shape = [2], dtype = "float32" }
label = { column = "y", shape = [], dtype = "int64" }
answer = { shape = [1], dtype = "float32" }
"""

TINY = """
import torch
print("a word on stdout does not disturb packing")
class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))
"""


def manifest(**changes: Any) -> BundleManifest:
    fields: dict[str, Any] = {
        "name": "tiny",
        "bundle_version": "1",
        "entry": "tiny:Tiny",
        "input": ColumnSpec(column="x", shape=(2,), dtype="float32"),
        "label": ColumnSpec(column="y", shape=(), dtype="int64"),
        "answer": TensorSpec(shape=(1,), dtype="float32"),
        "layout": (StateTensor(name="linear.weight", shape=(1, 2)), StateTensor(name="linear.bias", shape=(1,))),
    }
    return BundleManifest(**{**fields, **changes})


def bundle(**files: bytes) -> BundleContents:
    return BundleContents(manifest=manifest(), files={"provider.toml": b"", "tiny.py": b"", **files})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "provider.toml").write_text(DESCRIPTION)
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path


def test_a_bundle_survives_its_encoding() -> None:
    packed = bundle()
    assert BundleContents.parse(packed.encode()) == packed


def test_the_state_is_counted_and_its_layout_has_a_digest() -> None:
    one, other = manifest(), manifest(layout=(StateTensor(name="linear.weight", shape=(3,)),))
    assert one.state_count == other.state_count == 3
    assert one.layout_digest != other.layout_digest


@pytest.mark.parametrize(
    "path", ["../x.py", "/x.py", "a//b.py", "a/./b.py", "a/../b.py", ".hidden", "a b.py", "", "a/"]
)
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        bundle(**{path: b""})


def test_a_path_is_not_file_and_folder_at_once() -> None:
    with pytest.raises(ValidationError, match="file and folder"):
        bundle(**{"a": b"", "a/b.py": b""})


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ValidationError, match="too large"):
        bundle(**{"weights.bin": bytes(MAX_CONTENT_BYTES + 1)})


def test_a_bundle_without_description_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"provider\.toml"):
        BundleContents(manifest=manifest(), files={"a.py": b"", "b.py": b""})


@pytest.mark.parametrize(
    "changes",
    [
        {"entry": "tiny.py"},
        {"entry": "os; import sys:x"},
        {"input": ColumnSpec(column="y", shape=(2,), dtype="float32")},
        {"layout": ()},
        {"layout": (StateTensor(name="a", shape=(0,)),)},
        {"layout": (StateTensor(name="a", shape=(1,)), StateTensor(name="a", shape=(1,)))},
        {"layout": (StateTensor(name="a", shape=(1 << 20, 1 << 20)),)},
        {"query_rows": 4096, "answer": TensorSpec(shape=(1 << 20,), dtype="float32")},
    ],
)
def test_a_manifest_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(**changes)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"type":"bundle-contents","version":2}', bundle().encode() + b"x"]
)
def test_bytes_that_are_no_bundle_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="format.message"):
        BundleContents.parse(raw)


def test_packing_measures_parameters_and_float_buffers_in_order(directory: Path) -> None:
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "tiny.pyc").write_bytes(b"x")
    (directory / ".notes").write_bytes(b"x")
    packed = pack_bundle(directory)
    assert list(packed.files) == ["provider.toml", "tiny.py"]
    assert [(one.name, one.shape, one.buffer) for one in packed.manifest.layout] == [
        ("mean", (3,), True),
        ("linear.weight", (1, 2), False),
        ("linear.bias", (1,), False),
    ]
    assert packed.manifest.buffers == (slice(0, 3),)
    assert packed.manifest.state_count == 6


def test_packing_shows_the_provider_its_own_exception(directory: Path) -> None:
    (directory / "tiny.py").write_text("raise ValueError('the reason')")
    with pytest.raises(FormatError, match="format.bundle") as refused:
        measure_layout(directory)
    assert refused.value.seen == "ValueError: the reason"


def test_a_symbolic_link_is_refused(directory: Path) -> None:
    (directory / "secret").symlink_to("/etc/passwd")
    with pytest.raises(FormatError) as refused:
        read_bundle_directory(directory)
    assert refused.value.expected == "no symbolic links"


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        (DESCRIPTION.replace('"float32" }', '"complex64" }', 1), "input.dtype"),
        (DESCRIPTION.replace("shape = [2]", "shape = [-2]"), "input.shape"),
        (DESCRIPTION + 'extra = "x"', "extra"),
        (DESCRIPTION.replace('entry = "tiny:Tiny"', ""), "entry"),
        ("not toml", "Expected"),
    ],
)
def test_a_wrong_description_is_refused_by_its_field(directory: Path, changed: str, seen: str) -> None:
    (directory / "provider.toml").write_text(changed)
    with pytest.raises(FormatError, match="format.bundle") as refused:
        read_bundle_directory(directory)
    assert seen in (refused.value.seen or "")


def test_the_example_is_described_rightly() -> None:
    description, files = read_bundle_directory(DIGITS)
    assert description.input.shape == (8, 8)
    assert sorted(files) == ["digits_cnn.py", "provider.toml"]
