"""A recorder in place of a kernel's IMA: its list and a real TPM agree, also after a crash, and are accepted."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.crypto.digests import sha256_file
from common.crypto.tpm_keys import Activations
from common.errors import AppraisalError, ConflictError, UnavailableError
from common.tpm_host.quoting import QuotingTpm
from common.tpm_host.recorder import Recorder
from common.tpm_ima.appraisal import appraise_host
from tests.fakes.ek_authority import EkAuthority
from tests.fakes.forged_host import BINDING, profile_for
from tests.fakes.measured_host import MeasuredHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MeasuredHost]:
    host = MeasuredHost(tmp_path / "host", EkAuthority())
    host.restart()  # registers begin anew: this boot has no list yet
    host.list.unlink()
    yield host
    host.close()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program with blanks"
    path.write_text("#!/bin/sh\necho ran\n")
    path.chmod(0o700)
    return path


def claim(path: Path) -> bytes:
    return b"sha256:%b %b" % (sha256_file(path).encode(), os.fsencode(path).replace(b" ", b"_"))


def judge(host: MeasuredHost, claims: list[bytes]) -> int:
    activations = Activations()
    verified = host.verified(host.evidence(BINDING, activations), activations)
    zeros = {name: (values[0].of(bytes(32)),) for name, values in host.boot_registers.items()}
    appraise_host(verified, *profile_for(claims, boot_registers=zeros))
    return len(verified.entries)


def test_what_is_run_is_recorded_once_and_before_it_runs(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    recorder.measure([program, program])
    tpm.close()
    assert judge(host, [claim(program)]) == 2
    with pytest.raises(AppraisalError, match="appraisal.host_file"):
        judge(host, [])


def test_what_is_executed_by_descriptor_is_what_was_measured(host: MeasuredHost, program: Path) -> None:
    """The file is replaced after it was measured: what runs is still the measured one."""
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    expected = claim(program)
    with program.open("rb") as file:
        recorder.measure_descriptor(file.fileno(), program)
        program.unlink()
        program.write_text("#!/bin/sh\necho another\n")
        ran = subprocess.run(
            ["/bin/sh", f"/proc/self/fd/{file.fileno()}"], pass_fds=[file.fileno()], capture_output=True, check=True
        )
    tpm.close()
    assert ran.stdout == b"ran\n"
    assert judge(host, [expected]) == 2


def test_a_changed_file_is_another_entry(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    recorder.measure([program])
    first = claim(program)
    program.write_text("changed")
    recorder.measure([program])
    tpm.close()
    assert judge(host, [first, claim(program)]) == 3
    with pytest.raises(AppraisalError, match="appraisal.host_file"):
        judge(host, [first])


def test_a_crash_between_list_and_tpm_is_made_good(
    host: MeasuredHost, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    with monkeypatch.context() as crash:
        crash.setattr(QuotingTpm, "extend", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recorder.measure([program])
    again = Recorder(tpm, host.list)
    again.measure([program])
    Recorder(tpm, host.list)
    tpm.close()
    assert judge(host, [claim(program)]) == 2


@pytest.mark.parametrize("was_extended", [False, True])
def test_a_recorder_that_lives_on_makes_good_what_the_tpm_refused(
    host: MeasuredHost, program: Path, monkeypatch: pytest.MonkeyPatch, *, was_extended: bool
) -> None:
    """A busy TPM, and one whose answer was lost: neither leaves a hole in the list."""
    tpm, extend = host.tpm(), QuotingTpm.extend

    def failing(tpm: QuotingTpm, register: int, digest: bytes) -> None:
        if was_extended:
            extend(tpm, register, digest)
        raise UnavailableError("unavailable.tpm")

    recorder = Recorder(tpm, host.list)
    with monkeypatch.context() as busy:
        busy.setattr(QuotingTpm, "extend", failing)
        with pytest.raises(UnavailableError, match="unavailable.tpm"):
            recorder.measure([program])
        if not was_extended:  # it is still busy
            with pytest.raises(UnavailableError, match="unavailable.tpm"):
                recorder.measure([program])
    first = claim(program)
    recorder.measure([program])
    program.write_text("changed")
    recorder.measure([program])
    tpm.close()
    assert judge(host, [first, claim(program)]) == 3


def test_recorders_of_one_list_go_on_where_the_other_failed(
    host: MeasuredHost, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tpm = host.tpm()
    one, other = Recorder(tpm, host.list), Recorder(tpm, host.list)
    with monkeypatch.context() as crash:
        crash.setattr(QuotingTpm, "extend", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            other.measure([program])
    first = claim(program)
    one.measure([program])
    program.write_text("changed")
    one.measure([program])
    other.measure([program])
    tpm.close()
    assert judge(host, [first, claim(program)]) == 3


def test_a_list_that_is_gone_is_not_begun_anew_in_the_same_boot(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    host.list.unlink()
    with pytest.raises(ConflictError, match="conflict.host_list"):
        recorder.measure([program])
    tpm.close()


def test_a_line_that_this_recorder_wrote_in_part_was_never_there(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    with host.list.open("ab") as file:
        file.write(b"10 0123")  # as a full disk leaves it
    recorder.measure([program])
    tpm.close()
    assert judge(host, [claim(program)]) == 2


def test_a_line_that_a_crash_has_cut_off_was_never_there(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    Recorder(tpm, host.list).measure([program])
    with host.list.open("ab") as file:
        file.write(b"10 0123")
    Recorder(tpm, host.list).measure([program])
    tpm.close()
    assert judge(host, [claim(program)]) == 2


def test_a_path_of_two_lines_is_not_run(host: MeasuredHost, tmp_path: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    strange = tmp_path / "one\n10 two"
    strange.write_text("x")
    with pytest.raises(UnavailableError, match="unavailable.host_log"):
        recorder.measure([strange])
    tpm.close()
    assert judge(host, []) == 1


def test_a_list_of_another_boot_is_refused(host: MeasuredHost, program: Path) -> None:
    tpm = host.tpm()
    Recorder(tpm, host.list).measure([program])
    tpm.close()
    host.restart()
    tpm = host.tpm()
    with pytest.raises(ConflictError, match="conflict.host_list"):
        Recorder(tpm, host.list)
    host.list.unlink()
    Recorder(tpm, host.list)
    tpm.extend(10, bytes(32))  # somebody beside us
    with pytest.raises(ConflictError, match="conflict.host_list"):
        Recorder(tpm, host.list)
    tpm.close()


def test_what_can_not_be_read_is_not_recorded(host: MeasuredHost, tmp_path: Path) -> None:
    tpm = host.tpm()
    recorder = Recorder(tpm, host.list)
    with pytest.raises(UnavailableError, match="unavailable.host_log"):
        recorder.measure([tmp_path / "missing"])
    tpm.close()
    assert judge(host, []) == 1
