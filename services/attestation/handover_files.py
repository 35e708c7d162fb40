"""What the host keeps of a handover (side: host; it sees blobs and their sizes).

    DIRECTORY/heir-NNNNNNNNNNNNNNNN.key   an heir's key, sealed to it, by the digest of the release that names it
    DIRECTORY/.package                    the state on its way to the heir; worthless as soon as that has stored it

The key is on the disk before the heir's question goes to the broker: for no other key is the state given again. The
package need not last: a broker that has handed over gives it again.
"""

import os
from pathlib import Path

from common.door import Handler
from common.errors import UnavailableError
from common.identifiers import Digest
from services.attestation.record_file import BLOB, RecordFile
from services.attestation.state_door import parse_number


class HandoverFiles:
    """Beside one broker's state."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._package: RecordFile | None = None

    def read_key(self, release: Digest) -> bytes | None:
        """The sealed key of the heir that this release names, if it has asked before."""
        path = self._key_file(release)
        return RecordFile.open(path, closing=BLOB).read(BLOB, 0) or None if path.exists() else None

    def keep_key(self, release: Digest, sealed: bytes) -> None:
        """On the disk when this returns."""
        file = RecordFile.create(self._directory / ".heir.new")
        file.append((BLOB, sealed))
        file.sync()
        file.path.rename(self._key_file(release))
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def handlers(self) -> dict[str, Handler]:
        """What either enclave asks of its host."""
        return {
            "package.begin": lambda _: self.begin_package(),
            "package.add": self.add_to_package,
            "package.read": self.read_package,
        }

    def begin_package(self) -> bytes:
        """Forget an earlier package."""
        self._package = RecordFile.create(self._directory / ".package")
        return b""

    def add_to_package(self, blob: bytes) -> bytes:
        """One more blob of the package that was begun."""
        if self._package is None:
            raise UnavailableError("unavailable.store", expected="a package that was begun")
        self._package.append((BLOB, blob))
        return b""

    def read_package(self, body: bytes) -> bytes:
        """Blob of this number (8 bytes); nothing behind the last."""
        return b"" if self._package is None else self._package.read(BLOB, parse_number(body))

    def forget(self, release: Digest) -> None:
        """The heir has taken over."""
        self._package = None
        (self._directory / ".package").unlink(missing_ok=True)
        self._key_file(release).unlink(missing_ok=True)

    def _key_file(self, release: Digest) -> Path:
        return self._directory / f"heir-{release[:16]}.key"
