"""Attacks on compiled components: whoever could change one would run any machine code in an enclave.

The host stores them. Control: wasmtime itself loads a component whose code was changed, and does not notice.
"""

import platform
from collections.abc import Callable

import pytest
import wasmtime
from wasmtime.component import Component

from common.crypto.aead import BLOB_OVERHEAD, seal_blob
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.labels import COMPILED_DESIGN, SEALED_STATE
from common.sandbox.wasm import engine
from common.sandbox.wasm.compiled import CompiledDesign, artefact_digest
from tests.fakes.wasm_components import DESIGN_TEXT, METRICS, PROFILE, component, steering
from tests.security.sandbox.wasm_parts import SECONDS, MemoryStore, start

CODE = component()
OTHER = component(after=steering("unreachable"))
BUNDLE = sha256(CODE)  # stands for the root of the bundle with it


class Installation:
    """A store and a key; `designs` starts a job and says whether it was compiled anew."""

    def __init__(self) -> None:
        self.store, self.key = MemoryStore(), SecretKey.generate()
        assert self.designs()
        self.name, self.blob = next(iter(self.store.blobs.items()))
        assert not self.designs()

    def designs(self, code: bytes = CODE) -> bool:
        saved = self.store.saved
        designer = start(code, compiled=CompiledDesign(self.key, self.store, sha256(code)))
        assert designer.design(PROFILE, SECONDS).text == DESIGN_TEXT
        assert designer.after_epoch(METRICS, SECONDS).change is not None
        designer.close()
        return self.store.saved > saved


@pytest.fixture(scope="module")
def installation() -> Installation:
    return Installation()


def serialized(code: bytes) -> bytes:
    return bytes(Component(engine.make_engine(), code).serialize())


def _spoilt_at(place: Callable[[int], int]) -> Callable[[bytes], bytes]:
    def spoil(blob: bytes) -> bytes:
        at = place(len(blob))
        return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]

    return spoil


@pytest.mark.parametrize(
    "change",
    [
        _spoilt_at(lambda _: 0),
        _spoilt_at(lambda _: 5),
        _spoilt_at(lambda _: BLOB_OVERHEAD),
        _spoilt_at(lambda length: length // 2),
        _spoilt_at(lambda length: length - 1),
        lambda blob: blob[:-1],
        lambda blob: blob[: len(blob) // 2],
        lambda blob: blob[:BLOB_OVERHEAD],
        lambda blob: blob[: BLOB_OVERHEAD - 1],
        lambda _: b"",
        lambda blob: blob + b"\x00",
        lambda blob: blob[BLOB_OVERHEAD:],
        lambda blob: bytes(len(blob)),
    ],
    ids=range(13),
)
def test_a_changed_or_truncated_artefact_is_compiled_anew(
    installation: Installation, change: Callable[[bytes], bytes]
) -> None:
    installation.store.blobs[installation.name] = change(installation.blob)
    assert installation.designs()
    assert not installation.designs()


def test_control_wasmtime_loads_changed_code() -> None:
    """One bit of its machine code: loaded without a word. This is what the seal is for."""
    made = serialized(CODE)
    text = made.index(bytes.fromhex("554889e5"))  # push rbp; mov rbp, rsp: where a function begins on x86-64
    changed = made[:text] + b"\xcc" + made[text + 1 :]
    assert Component.deserialize(engine.make_engine(), changed) is not None


def test_machine_code_of_the_hosts_own_is_not_loaded(installation: Installation) -> None:
    """As it is, and sealed under a key of the host's."""
    foreign = serialized(OTHER)
    for blob in (foreign, seal_blob(SecretKey.generate(), COMPILED_DESIGN, foreign, artefact_digest(BUNDLE))):
        installation.store.blobs[installation.name] = blob
        assert installation.designs()


def test_an_artefact_of_another_component_is_not_loaded(installation: Installation) -> None:
    """Both of this enclave's making; the host swaps their names."""
    designer = start(OTHER, compiled=CompiledDesign(installation.key, installation.store, sha256(OTHER)))
    designer.close()
    (name,) = set(installation.store.blobs) - {installation.name}
    installation.store.blobs[installation.name] = installation.store.blobs[name]
    assert installation.designs()


def test_what_one_bundle_compiled_no_other_bundle_loads(installation: Installation) -> None:
    """The same component in it: under the host's name for it, too."""
    compiled = CompiledDesign(installation.key, installation.store, sha256(b"another bundle"))
    known = set(installation.store.blobs)
    start(CODE, compiled=compiled).close()
    (name,) = set(installation.store.blobs) - known
    installation.store.blobs[name], saved = installation.blob, installation.store.saved
    start(CODE, compiled=compiled).close()
    assert installation.store.saved == saved + 1


def test_a_blob_of_another_use_is_not_loaded(installation: Installation) -> None:
    digest = artefact_digest(BUNDLE)
    installation.store.blobs[installation.name] = seal_blob(installation.key, SEALED_STATE, serialized(OTHER), digest)
    assert installation.designs()


@pytest.mark.parametrize("changed", ["version", "settings", "machine"])
def test_an_artefact_of_another_engine_is_not_loaded(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Its name is another, and under the right name it does not open."""
    installation.store.blobs[installation.name] = installation.blob
    if changed == "version":
        monkeypatch.setattr(engine, "version", lambda _: "49.0.0")
    elif changed == "settings":
        monkeypatch.setitem(engine.SETTINGS, "cranelift_opt_level", "none")
    else:
        monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert installation.designs()
    (name,) = [one for one in installation.store.blobs if installation.store.blobs[one] == installation.blob]
    assert name == installation.name


def test_an_artefact_that_wasmtime_refuses_is_compiled_anew(installation: Installation) -> None:
    """Sealed as it should be, by a wasmtime that made other code of it: its own check is the last one."""
    config = wasmtime.Config()
    config.wasm_component_model = True
    made = bytes(Component(wasmtime.Engine(config), CODE).serialize())
    digest = artefact_digest(BUNDLE)
    installation.store.blobs[installation.name] = seal_blob(installation.key, COMPILED_DESIGN, made, digest)
    assert installation.designs()


def test_the_host_sees_neither_component_nor_code(installation: Installation) -> None:
    start(CODE, compiled=CompiledDesign(installation.key, installation.store, BUNDLE)).close()
    assert b"xavier" in serialized(CODE)
    for name, blob in installation.store.blobs.items():
        assert b"xavier" not in blob
        assert b"ELF" not in blob[:64]
        assert not BUNDLE.startswith(name)
        assert not artefact_digest(BUNDLE).hex().startswith(name)  # which the host can compute of what it guesses


def test_another_enclaves_key_opens_nothing() -> None:
    """Its names are others, so that the host can't tell which bundles they are of; nor does the blob open there."""
    installation = Installation()
    installation.key = SecretKey.generate()
    assert installation.designs()
    (name,) = set(installation.store.blobs) - {installation.name}
    installation.store.blobs[name] = installation.blob
    assert installation.designs()


def test_a_store_that_keeps_nothing_costs_time_alone() -> None:
    installation = Installation()
    for _ in range(2):
        installation.store.blobs.clear()
        assert installation.designs()
