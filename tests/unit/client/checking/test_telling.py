"""What a watched child tells is read back, whatever provider code wrote beside it."""

import mmap
import struct

import pytest

from client.checking.telling import Telling, told


def test_lines_are_read_back_until_the_window_is_full() -> None:
    memory = mmap.mmap(-1, 4096)
    telling = Telling(memory)
    for number in range(1000):
        telling.tell("printed", text=f"line {number}")
    lines = told(memory[:])
    assert lines[:2] == [{"kind": "printed", "text": "line 0"}, {"kind": "printed", "text": "line 1"}]
    assert 60 < len(lines) < 1000


@pytest.mark.parametrize("rubbish", [bytes(64), b"\xff" * 64, struct.pack("<Q", 9) + b"[1]\nnull\n" + bytes(9)])
def test_what_provider_code_wrote_there_is_no_fault(rubbish: bytes) -> None:
    assert told(rubbish) == []


def test_only_the_exceptions_own_frames_of_provider_code_are_told() -> None:
    memory = mmap.mmap(-1, 4096)
    code = compile("def f():\n    g()\ndef g():\n    raise KeyError('spleen')\nf()", "/bundle/net.py", "exec")
    try:
        exec(code, {})  # noqa: S102 - code of a file that is not there
    except KeyError:
        Telling(memory).raised()
    (line,) = told(memory[:])
    assert (line["error"], line["text"].splitlines()[-1]) == ("KeyError", "KeyError: 'spleen'")
    assert [one.strip() for one in line["text"].splitlines() if "File" in one] == [
        f'File "net.py", line {number}, in {name}' for number, name in ((5, "<module>"), (2, "f"), (4, "g"))
    ]
