"""Recovery packages on disk (side: host; it sees who holds shares, and blobs).

    DIRECTORY/DATASET.package   the newest of each data set

To be kept where the machine's end does not reach, together with the log (`state_files`): copy the whole state
directory, or lay it on a disk that is mirrored elsewhere. Nothing in it opens without the holders.
"""

import os
from pathlib import Path

from common.errors import NotFoundError
from common.identifiers import DatasetId


class RecoveryFiles:
    """One broker's packages."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, dataset_id: DatasetId, package: bytes) -> None:
        """Replace the data set's package, durably; an empty one is none."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(dataset_id)
        if package:
            beside = path.with_suffix(".new")
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(package)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        else:
            path.unlink(missing_ok=True)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, dataset_id: DatasetId) -> bytes:
        """The data set's package. Raises `NotFoundError` (not_found.recovery)."""
        try:
            return self._path(dataset_id).read_bytes()
        except OSError as cause:
            raise NotFoundError("not_found.recovery", expected=dataset_id) from cause

    def _path(self, dataset_id: DatasetId) -> Path:
        return self._directory / f"{dataset_id}.package"
