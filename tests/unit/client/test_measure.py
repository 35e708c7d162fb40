"""`cloister measure --sig` reads signed SGX enclaves, and refuses files that are none."""

import hashlib
import json
from pathlib import Path

from click.testing import CliRunner

from client.cli import main
from tests.fakes.sigstructs import modulus, sigstruct


def measure(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["measure", *arguments])
    return result.exit_code, result.output


def test_enclave_signer_product_and_version_are_told(tmp_path: Path) -> None:
    (tmp_path / "trainer.sig").write_bytes(sigstruct(b"\xab" * 32, isv_prod_id=3, isv_svn=9))
    status, told = measure("--sig", str(tmp_path / "trainer.sig"), "--json")
    assert status == 0
    assert json.loads(told) == {
        "type": "sigstruct-read",
        "file": "trainer.sig",
        "mr_enclave": "ab" * 32,
        "mr_signer": hashlib.sha256(modulus()).hexdigest(),
        "isv_prod_id": 3,
        "isv_svn": 9,
        "debug": False,
    }


def test_a_debug_enclave_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.sig").write_bytes(sigstruct(b"\xab" * 32, flags=0x06))
    status, told = measure("--sig", str(tmp_path / "a.sig"))
    assert status == 0
    assert "DEBUG" in told


def test_a_file_that_is_no_sigstruct_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.sig").write_bytes(sigstruct(b"\xab" * 32))
    (tmp_path / "bad.sig").write_bytes(b"x")
    status, told = measure("--sig", str(tmp_path / "good.sig"), "--sig", str(tmp_path / "bad.sig"), "--json")
    assert status == 1
    assert json.loads(told.splitlines()[-1])["code"] == "format.sigstruct"
