"""A compiled component, sealed for the next launch (side: enclave).

Compiling CPython takes ten seconds and more, loading what was compiled some milliseconds. But wasmtime runs whatever
machine code it is told to load, so nothing is loaded that this enclave's code has not made itself: what is stored is
sealed under a key that only this enclave's measurement gets (hardware sealing), bound to the bundle that the component
came from and to the engine's fingerprint. Changed, cut off, moved to another name, of another bundle, wasmtime or key:
it does not open, and the component is compiled anew. What was compiled too late for one job is there for the next. The
store is the host's: it sees a size, and a name by which it knows the same bundle again but can't tell which one.

    bundle  root of the sealed bundle, whose leaves were checked when it was opened: no bytes are hashed again here
    digest  SHA-256 of transcript(`compiled-digest`, bundle, fingerprint)
    name    a number derived from the key, label `compiled-name`, context digest: 16 hexadecimal digits
    blob    of section 5 of docs/formats.md, under label `compiled-design`, `aad` = digest
"""

import fcntl
import mmap
import os
import time
from dataclasses import dataclass
from typing import Protocol

import wasmtime
from wasmtime.component import Component

from common.crypto.aead import BLOB_OVERHEAD, open_blob, open_blob_in_pieces, seal_blob
from common.crypto.digests import sha256_raw, transcript
from common.crypto.keys import SecretKey
from common.crypto.labels import COMPILED_DESIGN, COMPILED_DIGEST, COMPILED_NAME
from common.enclave.gramine import is_gramine
from common.errors import AuthenticityError
from common.identifiers import Digest
from common.sandbox.wasm.engine import compile_within, fingerprint

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_CODE = "authenticity.sealed_object"


def artefact_digest(bundle: Digest) -> bytes:
    """What a compiled component is bound to: its bundle, this engine, this wasmtime."""
    return sha256_raw(transcript(COMPILED_DIGEST, bundle.raw(), fingerprint()))


class ArtefactStore(Protocol):
    """Where sealed blobs lie: untrusted, may lose or change them."""

    def load(self, name: str) -> bytes | mmap.mmap | None:
        """What was saved under this name, if it is there."""
        ...

    def save(self, name: str, blob: bytes) -> None:
        """Keep it, or not."""
        ...


@dataclass(frozen=True)
class CompiledDesign:
    """Of one bundle: compiles its component, or loads what was compiled before. `key`: of this enclave's measurement.

    `bundle` is the root under which the bundle was opened, by the caller: one root, one component.
    """

    key: SecretKey
    store: ArtefactStore
    bundle: Digest

    def component(self, engine: wasmtime.Engine, code: bytes, seconds: float) -> Component:
        """The component, ready to be instantiated. Raises `DesignFailure` (provider.import, provider.timeout)."""
        deadline = time.monotonic() + seconds
        digest = artefact_digest(self.bundle)
        name = f"{self.key.derive_number(COMPILED_NAME, digest):016x}"
        blob = self.store.load(name)
        if blob is not None and (found := self._opened(engine, blob, digest)) is not None:
            return found

        def save(made: Component) -> None:
            self.store.save(name, seal_blob(self.key, COMPILED_DESIGN, bytes(made.serialize()), digest))

        return compile_within(engine, code, deadline - time.monotonic(), save)

    def _opened(self, engine: wasmtime.Engine, blob: bytes | mmap.mmap, digest: bytes) -> Component | None:
        """Decrypted into a memory file that is sealed against writing, and mapped from there; None: not ours.

        The file is written, not mapped for it: that costs a third of the time, most of which is pages.
        """
        if len(blob) <= BLOB_OVERHEAD:
            return None
        if is_gramine():  # which has no memory files; an enclave's memory is mapped by nobody else
            return self._opened_in_memory(engine, blob, digest)
        fd = os.memfd_create("compiled-design", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with memoryview(blob) as sealed, os.fdopen(os.dup(fd), "wb") as file:
                open_blob_in_pieces(self.key, COMPILED_DESIGN, sealed, file.write, digest, code=_CODE)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return Component.deserialize_file(engine, f"/proc/self/fd/{fd}")
        except (AuthenticityError, wasmtime.WasmtimeError):  # not ours; ours, but made for another processor
            return None
        finally:
            os.close(fd)

    def _opened_in_memory(self, engine: wasmtime.Engine, blob: bytes | mmap.mmap, digest: bytes) -> Component | None:
        try:
            return Component.deserialize(engine, open_blob(self.key, COMPILED_DESIGN, bytes(blob), digest, code=_CODE))
        except (AuthenticityError, wasmtime.WasmtimeError):
            return None
