"""What compiles too late for one job is loaded by the next."""

import time

import pytest

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.engine import make_engine
from common.sandbox.wasm.failure import DesignFailure
from tests.fakes.wasm_components import component
from tests.security.sandbox.wasm_parts import MemoryStore


def test_what_compiled_too_late_is_kept() -> None:
    store = MemoryStore()
    design = CompiledDesign(SecretKey.generate(), store, sha256(b"a bundle"))
    with pytest.raises(DesignFailure, match=r"provider\.timeout"):
        design.component(make_engine(), component(), 0.0)
    give_up = time.monotonic() + 30
    while not store.saved and time.monotonic() < give_up:
        time.sleep(0.02)
    assert store.saved == 1
    assert design.component(make_engine(), component(), 0.0) is not None
    assert store.saved == 1
