"""Nothing leaves an enclave as log or metric but the fields of a closed list of types; the scanner is the judge.

Markers are put wherever a careless line could put them: into every field of every event, as text, number and bytes, and
into whole frames. What passes a gate is scanned, as is all that the host prints, and all that it tells Prometheus.
"""

import base64
import io
import json
import os
import threading
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from common.door import Door
from common.errors import FormatError
from common.identifiers import JobId, ModelId
from common.messages.enclave_events import EnclaveEvent, EnclaveReady, SlotEnded, encode_event, parse_event
from common.untrusted.enclave_log import note_event
from common.untrusted.metrics import REGISTRY, MetricsPage
from tests.security.canary import Scanner

MARKER = np.random.default_rng(11).bytes(48)
SCANNER = Scanner({"marker": MARKER})
KINDS = get_args(EnclaveEvent)

GOOD: dict[str, Any] = {
    "role": "trainer", "job_id": JobId("job_" + "0" * 32), "model_id": ModelId("model_" + "0" * 32), "slot": 1,
    "attempt": 1, "ticks": 100, "state": "finished", "code": "policy.provider", "landlock_abi": 7, "epoch": 3,
}  # fmt: skip
"""Of each field, a value that is allowed."""


def careless() -> Iterator[Any]:
    """A secret as people write it into logs."""
    yield MARKER
    yield MARKER.hex()
    yield MARKER[:16].hex()
    yield base64.b64encode(MARKER).decode()
    yield MARKER.decode("latin-1")
    yield int.from_bytes(MARKER, "big")
    yield int.from_bytes(MARKER[:8], "big")
    yield float(np.frombuffer(MARKER[:8], "<f8")[0])
    yield list(MARKER)
    yield {"seen": MARKER.hex()}
    yield f"loss {MARKER[0] / 255}"


def fields_of(kind: Any) -> dict[str, Any]:
    return {name: GOOD[name] for name in kind.model_fields if name != "event"}


def test_the_list_of_events_is_closed_and_each_has_a_good_example() -> None:
    assert len(KINDS) == 7
    for kind in KINDS:
        event = kind(**fields_of(kind))
        assert parse_event(encode_event(event)) == event
        assert SCANNER.scan(encode_event(event)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_takes_a_secret(kind: Any) -> None:
    for name in kind.model_fields:
        for secret in careless():
            with pytest.raises((ValidationError, FormatError)) as refused:
                kind(**{**fields_of(kind), name: secret})
            assert SCANNER.scan(str(refused.value).encode()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_can_be_added(kind: Any) -> None:
    for name in ("loss", "accuracy", "rows", "message", "labels", "exemplar", "trace_id", "_"):
        with pytest.raises(ValidationError):
            kind(**fields_of(kind), **{name: 0.5})


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_skipped_its_checks_is_stopped_at_the_gate(kind: Any) -> None:
    for name in kind.model_fields:
        for secret in careless():
            forged = kind.model_construct(**{**fields_of(kind), name: secret})
            with pytest.raises(Exception) as refused:  # noqa: PT011 - a fault of our own, whatever it is called
                encode_event(forged)
            assert SCANNER.scan(str(refused.value).encode()) == []


def test_the_door_takes_nothing_else() -> None:
    written = io.BytesIO()
    door = Door(io.BytesIO(), written, {}, workers=1)
    for wrong in ("loss 0.5", b"loss", {"event": "enclave_ready"}, None, GOOD["job_id"]):
        with pytest.raises(RuntimeError):
            door.log(wrong)  # type: ignore[arg-type]
    assert written.getvalue() == b""
    door.log(EnclaveReady(role="broker", epoch=1))
    assert b'{"event":"enclave_ready","role":"broker","epoch":1}' in written.getvalue()


def hostile_frames() -> Iterator[bytes]:
    """What an enclave that is not ours could send as an event."""
    good = json.loads(encode_event(SlotEnded(job_id=GOOD["job_id"], slot=1, code="policy.provider")))
    for secret in (MARKER.hex(), base64.b64encode(MARKER).decode(), int.from_bytes(MARKER[:8], "big")):
        for name in ("event", "slot", "code", "kind", "loss"):
            yield json.dumps({**good, name: secret}).encode()
    yield MARKER
    yield b'{"event":"' + MARKER.hex().encode()
    yield b'{"event":"slot_ended"}' + MARKER
    yield b'{"event":"enclave_ready","role":"broker"' + b" " * 4096 + b"}"
    yield b"\xff" * 64


def test_the_host_prints_and_counts_no_frame_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    before = MetricsPage().encode()
    for frame in hostile_frames():
        note_event("trainer", frame)
    printed, page = capsys.readouterr(), MetricsPage().encode()
    assert printed.out == printed.err == ""
    assert SCANNER.scan(page) == []
    events = [line for line in page.splitlines() if line.startswith(b"cloister_enclave_events_total")]
    assert events == [line for line in before.splitlines() if line.startswith(b"cloister_enclave_events_total")]


def test_an_event_crosses_the_door_and_is_printed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def counted() -> float:
        labels = {"role": "trainer", "event": "slot_ended"}
        return REGISTRY.get_sample_value("cloister_enclave_events_total", labels) or 0.0

    before, (read, write) = counted(), os.pipe()
    enclave = Door(io.BytesIO(), os.fdopen(write, "wb"), {}, workers=1)
    with os.fdopen(read, "rb") as reader:
        host = Door(reader, io.BytesIO(), {}, workers=1, on_log=lambda raw: note_event("trainer", raw))
        thread = threading.Thread(target=host.serve)
        thread.start()
        enclave.log(SlotEnded(job_id=GOOD["job_id"], slot=3))
        enclave._writer.close()
        thread.join(10)
    assert counted() == before + 1
    assert json.loads(capsys.readouterr().err) == {"event": "slot_ended", "job_id": GOOD["job_id"], "slot": 3}


def test_the_scanner_would_find_the_marker_in_a_line_and_in_a_page() -> None:
    assert SCANNER.scan(b'{"event":"slot_ended","reason":"' + MARKER.hex().encode() + b'"}')
    assert SCANNER.scan(b'cloister_events_total{code="' + base64.b64encode(MARKER) + b'"} 1.0')
