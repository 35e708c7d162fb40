"""common/component_packing: what a directory with design code becomes, and what is refused before sealing."""

import json
import sys
from pathlib import Path

import pytest

from common import component_packing
from common.bundle import COMPONENT_FILE, DESIGN_TENSOR, BundleContents
from common.bundle_packing import pack_bundle
from common.component_packing import build_component
from common.errors import FormatError, UnavailableError
from common.sandbox.wasm.interface import Column, Label
from common.sandbox.wasm.outline import MAX_COMPONENT_BYTES
from tests.fakes.wasm_components import component, wat

DESCRIPTION = """
name = "tiny"
bundle_version = "1"
kind = "wasm"
entry = "tiny:Tiny"
max_parameters = 500
input = { column = "x", shape = [2], dtype = "float32" }
label = { column = "y", shape = [], dtype = "int64" }
answer = { shape = [3], dtype = "float32" }
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "provider.toml").write_text(DESCRIPTION)
    (tmp_path / "tiny.wasm").write_bytes(component())
    return tmp_path


def test_a_ready_component_is_packed_with_a_layout_of_one_tensor(directory: Path) -> None:
    (directory / "notes.txt").write_text("not part of the bundle")
    packed = pack_bundle(directory)
    assert packed.files == {COMPONENT_FILE: component(), "provider.toml": DESCRIPTION.encode()}
    assert packed.manifest.kind == "wasm"
    assert [(one.name, one.shape) for one in packed.manifest.layout] == [(DESIGN_TENSOR, (500,))]
    assert BundleContents.parse(packed.encode()) == packed


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (wat("(module)"), "a component is wanted"),
        (component(outer='(import "wasi:cli/stdout@0.2.0" (instance))'), "imports nothing"),
        (component()[:-9], "cut off"),
        (component(interface="other"), "provider.import"),
        (component(module="(func $bad unreachable) (start $bad)"), "provider.import"),
        (bytes(MAX_COMPONENT_BYTES + 1), "bytes are allowed"),
    ],
)
def test_what_would_not_start_in_an_enclave_is_not_sealed(directory: Path, code: bytes, seen: str) -> None:
    (directory / "tiny.wasm").write_bytes(code)
    with pytest.raises(FormatError, match=r"format\.bundle") as refused:
        pack_bundle(directory)
    assert seen in str(refused.value.seen)


def test_python_and_a_component_of_one_name_are_one_too_many(directory: Path) -> None:
    (directory / "tiny.py").write_text("class Tiny: ...")
    with pytest.raises(FormatError, match=r"format\.bundle"):
        pack_bundle(directory)
    (directory / "tiny.py").unlink()
    (directory / "tiny.wasm").unlink()
    with pytest.raises(FormatError, match=r"format\.bundle"):
        pack_bundle(directory)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_parameters = 500", ""),
        ("max_parameters = 500", "max_parameters = 0"),
        ('kind = "wasm"', ""),
        ('kind = "wasm"', 'kind = "native"'),
        ('kind = "wasm"', 'kind = "elf"'),
        ('entry = "tiny:Tiny"', 'entry = "../tiny:Tiny"'),
    ],
)
def test_a_wrong_description_is_refused(directory: Path, old: str, new: str) -> None:
    (directory / "provider.toml").write_text(DESCRIPTION.replace(old, new))
    with pytest.raises(FormatError, match=r"format\.bundle"):
        pack_bundle(directory)


@pytest.mark.timeout(600)  # 12 s where nobody else computes
def test_a_provider_sees_its_own_exception(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("raise ValueError('the reason')")
    with pytest.raises(FormatError, match=r"format\.bundle") as refused:
        build_component(tmp_path, "tiny", "Tiny")
    assert "ValueError: the reason" in str(refused.value.seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.py"]  # nothing was written beside it


def test_without_the_builder_the_refusal_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.py").write_text("class Tiny: ...")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(component_packing.sys, "executable", str(bare))  # type: ignore[attr-defined]
    with pytest.raises(UnavailableError, match=r"unavailable\.component_builder.*pip install"):
        build_component(tmp_path, "tiny", "Tiny")


def test_the_examples_design_for_small_and_large_data() -> None:
    """As plain Python; tests/security/sandbox/test_attack_wasm_python.py runs them as components."""
    from dataclasses import replace

    from common.model_graph.checking import GraphBounds
    from common.model_graph.reading import parse_design
    from tests.fakes.wasm_components import PROFILE

    folder = Path(__file__).resolve().parents[3] / "examples" / "providers"
    sys.path[:0] = [str(folder / "tabular_mlp"), str(folder / "auto_cnn")]
    try:
        from auto_cnn import AutoCnn  # type: ignore[import-not-found]
        from tabular_mlp import TabularMlp  # type: ignore[import-not-found]
    finally:
        del sys.path[:2]
    label = Label(PROFILE.label.column, (10, 10))
    seen = set()
    for rows in (20, 400, 100_000):
        for parameters in (4_000, 60_000, 5_000_000):
            for made, shape in ((TabularMlp, (30,)), (AutoCnn, (8, 8)), (AutoCnn, (3, 64, 48))):
                column = Column("x", "float32", shape, 0.0, 1.0, 0.5, 0.0)
                profile = replace(
                    PROFILE, rows=rows, columns=(column,), label=label, answer=(2,), max_parameters=parameters,
                    max_flops_per_row=100_000_000,
                )  # fmt: skip
                text = json.dumps(made().design(profile)).encode()
                design, facts = parse_design(text, GraphBounds(parameters, profile.max_flops_per_row))
                assert facts.output.shape == (2,)
                seen.add((len(design.graph.nodes), facts.state_values))
    assert len(seen) > 8  # they do choose
