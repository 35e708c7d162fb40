"""What may stand in a log: allow-listed fields of our own events, and of a library only that it spoke."""

import json
import logging
from collections.abc import Iterator

import pytest

from common.event_log import ALLOWED_FIELDS, configure_host_logging, encode_event, log_event

SECRET = "the patient's name"


@pytest.fixture
def root_logging() -> Iterator[None]:
    """Logging of this process is as before after the test."""
    root, names = logging.getLogger(), ("pika", "httpx", "sqlalchemy", "uvicorn.access", "celery", "kombu", "amqp")
    handlers, level, levels = root.handlers[:], root.level, [logging.getLogger(name).level for name in names]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The objects on stderr, one a line."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_line_of_its_fields() -> None:
    assert encode_event("slot_ended", {"slot": 1, "code": None}) == b'{"event":"slot_ended","slot":1,"code":null}'


@pytest.mark.parametrize("field", ["loss", "rows", "Code", "patient", "message", "event_"])
def test_a_field_that_is_not_allowed_is_a_fault_and_its_value_is_not_repeated(field: str) -> None:
    assert field not in ALLOWED_FIELDS
    with pytest.raises(RuntimeError, match=field) as raised:
        encode_event("slot_ended", {"slot": 1, field: SECRET})
    assert SECRET not in str(raised.value)
    with pytest.raises(RuntimeError, match=field):
        log_event(logging.getLogger("test"), "slot_ended", logging.INFO, **{field: SECRET})


@pytest.mark.usefixtures("root_logging")
def test_our_events_come_through_and_libraries_texts_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    configure_host_logging("trainer")
    log_event(logging.getLogger("trainer.relay"), "relay_failed", logging.ERROR, slot=1, reason="OSError")
    logging.getLogger("uvicorn.error").warning("cannot parse %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("concurrent.futures").exception("callback failed for %r", SECRET)
    logging.getLogger("asyncio").error("%s", "x\n" + SECRET)  # a line break makes no second line
    started, ours, parsed, failed, broken = lines(capsys)
    assert (started["event"], started["service"]) == ("service_started", "trainer")
    assert (ours["event"], ours["level"], ours["slot"]) == ("relay_failed", "error", 1)
    for one, name in ((parsed, "uvicorn.error"), (failed, "concurrent.futures"), (broken, "asyncio")):
        assert one.keys() == {"time", "level", "log", "event", "kind"}
        assert (one["event"], one["kind"]) == ("library_message", name)


@pytest.mark.usefixtures("root_logging")
def test_what_a_library_says_for_information_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_host_logging("ingest")
    capsys.readouterr()
    for name in ("pika", "httpx", "sqlalchemy", "uvicorn.access"):
        logging.getLogger(name).info(SECRET)
    assert lines(capsys) == []


@pytest.mark.usefixtures("root_logging")
def test_a_text_that_only_looks_like_an_event_is_a_librarys(capsys: pytest.CaptureFixture[str]) -> None:
    configure_host_logging("ingest")
    capsys.readouterr()
    logging.getLogger("httpx").warning("{%s}", SECRET)
    logging.getLogger("httpx").warning('{"body": "%s"}', SECRET)
    assert SECRET not in capsys.readouterr().err
