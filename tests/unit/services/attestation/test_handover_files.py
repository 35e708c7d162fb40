from pathlib import Path

import pytest

from common.errors import UnavailableError
from common.identifiers import Digest
from services.attestation.handover_files import HandoverFiles

ONE, OTHER = Digest("ab" * 32), Digest("cd" * 32)


def test_a_key_outlives_the_process_and_is_one_release_s(tmp_path: Path) -> None:
    HandoverFiles(tmp_path).keep_key(ONE, b"sealed")
    files = HandoverFiles(tmp_path)
    assert files.read_key(ONE) == b"sealed"
    assert files.read_key(OTHER) is None
    files.keep_key(OTHER, b"another heir's")
    assert files.read_key(ONE) == b"sealed", "one heir's question costs the other nothing"


def test_a_package_is_replaced_and_ends_with_its_handover(tmp_path: Path) -> None:
    files = HandoverFiles(tmp_path)
    with pytest.raises(UnavailableError):
        files.add_to_package(b"blob")
    for blobs in ([b"a", b"b"], [b"c"]):
        files.begin_package()
        for blob in blobs:
            files.add_to_package(blob)
    assert [files.read_package(number.to_bytes(8, "big")) for number in range(2)] == [b"c", b""]
    files.keep_key(ONE, b"sealed")
    files.forget(ONE)
    assert list(tmp_path.iterdir()) == []
    assert files.read_package(bytes(8)) == b""
