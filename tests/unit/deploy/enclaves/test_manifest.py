"""Manifests for Gramine: our templates pass the schema, and what would open an enclave is refused without Gramine."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from common.enclave.development import CODE_ROOT
from common.enclave.measurement import INTERPRETER_FLAGS
from common.enclave.roles import ROLES
from common.errors import FormatError, UnavailableError
from common.identifiers import Digest
from deploy.enclaves.closure import CODE, INTERPRETER, PACKAGES
from deploy.enclaves.manifest import Manifest, parse_manifest
from deploy.enclaves.rendering import render, template_of
from deploy.enclaves.staging import StagedFile

FILES = [StagedFile(place, Digest("ab" * 32), 1) for place in ("code/common/door.py", "python/bin/python3")]


def rendered(role: str = "broker") -> str:
    return render(template_of(ROLES[role], CODE_ROOT), FILES).decode()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_template_says_what_an_enclave_is(role: str) -> None:
    manifest = parse_manifest(rendered(role).encode())
    boot = f"/{CODE}/common/enclave/gramine_boot.py"
    assert manifest.loader.argv == (f"/{INTERPRETER}", *INTERPRETER_FLAGS, boot, ROLES[role].entry, f"/{PACKAGES}")
    assert manifest.libos.entrypoint == f"/{INTERPRETER}"
    assert manifest.loader.log_level == "error"
    assert manifest.sgx.remote_attestation == "dcap"
    assert manifest.sys.disallow_subprocesses
    assert manifest.loader.env["TMPDIR"] in {mount.path for mount in manifest.fs.mounts}
    assert [file.uri for file in manifest.sgx.trusted_files] == [f"file:root/{file.place}" for file in FILES]


def test_products_differ_so_that_no_enclave_passes_for_another() -> None:
    products = {parse_manifest(rendered(role).encode()).sgx.isvprodid for role in ROLES}
    assert len(products) == len(ROLES)


def test_files_are_sorted_whatever_their_order() -> None:
    template = template_of(ROLES["broker"], CODE_ROOT)
    assert render(template, FILES) == render(template, reversed(FILES))


def with_line(line: str, table: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"^(\[{re.escape(table)}\].*)$", rf"\1\n{line}", text, count=1, flags=re.MULTILINE)


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


REFUSED: dict[str, Callable[[str], str]] = {
    "debug": with_line("debug = true", "sgx"),
    "allowed files": with_line('allowed_files = ["file:/etc/hosts"]', "sgx"),
    "unhashed files": with_line('file_check_policy = "allow_all_but_log"', "sgx"),
    "arguments of the host": with_line("insecure__use_cmdline_argv = true", "loader"),
    "environment of the host": with_line("insecure__use_host_env = true", "loader"),
    "no randomised addresses": with_line("insecure__disable_aslr = true", "loader"),
    "keys in the manifest": with_line('insecure__keys.default = "ffeeddccbbaa99887766554433221100"', "fs"),
    "eventfd of the host": with_line("insecure__allow_eventfd = true", "sys"),
    "threads that serve calls outside": with_line("insecure__rpc_thread_num = 4", "sgx"),
    "faults without proof": with_line("insecure__allow_memfaults_without_exinfo = true", "sgx"),
    "mocked system calls": with_line('debug__mock_syscalls = [{ name = "futex" }]', "sys"),
    "locks under development": with_line("experimental__enable_flock = true", "sys"),
    "a variable of the host": with_line("HOME = { passthrough = true }", "loader.env"),
    "words": replaced('log_level = "error"', 'log_level = "warning"'),
    "many words": replaced('log_level = "error"', 'log_level = "trace"'),
    "no level": replaced('log_level = "error"', ""),
    "words in a file": with_line('log_file = "/tmp/log"', "loader"),
    "arguments from a file": with_line('argv_src_file = "file:argv"', "loader"),
    "no attestation": replaced('remote_attestation = "dcap"', 'remote_attestation = "none"'),
    "processes": replaced("disallow_subprocesses = true", "disallow_subprocesses = false"),
    "a folder of the host": replaced(
        'mounts = [{ type = "tmpfs"',
        'mounts = [{ type = "chroot", uri = "file:/srv", path = "/srv" }, { type = "tmpfs"',
    ),
    "shared memory": replaced('{ type = "tmpfs", path = "/tmp" }', '{ type = "untrusted_shm", path = "/dev/shm" }'),
    "another root": replaced('uri = "file:root"', 'uri = "file:/"'),
    "ioctl": with_line("allowed_ioctls = [{ request_code = 1 }]", "sys"),
    "profiling": with_line('profile.enable = "all"', "sgx"),
    "an unknown key": with_line("something = 1", "sgx"),
    "an unknown table": lambda text: text + "\n[other]\na = 1\n",
    "a size that is no power of two": replaced('enclave_size = "1G"', 'enclave_size = "3G"'),
    "a file outside": replaced("file:root/code/common/door.py", "file:/etc/passwd"),
    "a file through a parent": replaced("file:root/code/common/door.py", "file:root/../door.py"),
    "a whole folder": replaced("file:root/code/common/door.py", "file:root/code/common/"),
    "a file without a hash": replaced(f', sha256 = "{"ab" * 32}" }}', " }"),
    "files out of order": replaced("file:root/code/common/door.py", "file:root/zzz"),
    "a file twice": replaced("file:root/code/common/door.py", "file:root/python/bin/python3"),
    "no TOML": lambda text: text + "[",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_opens_an_enclave_is_refused(what: str) -> None:
    text = rendered()
    parse_manifest(text.encode())
    assert REFUSED[what](text) != text
    with pytest.raises(FormatError, match="format.manifest"):
        parse_manifest(REFUSED[what](text).encode())


def test_what_gramine_adds_is_taken() -> None:
    """`gramine-manifest` writes defaults, the switched-off ones too, and the library OS with its hash."""
    text = with_line('debug = false\nenable_stats = false\ncpu_features = { amx = "unspecified" }', "sgx")(rendered())
    text = with_line(f'entrypoint = {{ uri = "file:/usr/lib/libsysdb.so", sha256 = "{"cd" * 32}" }}', "loader")(text)
    manifest: Manifest = parse_manifest(with_line("insecure__use_host_env = false", "loader")(text).encode())
    assert manifest.loader.entrypoint is not None


def test_a_missing_template_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="unavailable.launcher"):
        render(tmp_path / "none", FILES)
