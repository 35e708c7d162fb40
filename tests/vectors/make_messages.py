"""Golden JSON of every message, one file for each family, and encodings that are refused (side: library)."""

import json
from collections.abc import Iterator
from typing import Any, Final

from common.messages.base import Message
from common.messages.policy import JobReport
from tests.vectors.sample_broker import broker_messages, log_messages, state_entries
from tests.vectors.sample_documents import ORDER, documents
from tests.vectors.sample_gpus import gpu_messages
from tests.vectors.sample_graphs import model_graphs
from tests.vectors.sample_hosts import host_messages
from tests.vectors.sample_recovery import recovery_messages
from tests.vectors.sample_services import door_and_session_messages, files_of_a_party, service_messages
from tests.vectors.vector_file import PRODUCT, VectorFile

FAMILIES: Final = {
    "documents": (documents, 6),
    "broker": (broker_messages, 7),
    "decision_log": (log_messages, 13),
    "broker_state": (state_entries, 13),
    "services": (service_messages, 19),
    "doors_and_sessions": (door_and_session_messages, 16),
    "party_files": (files_of_a_party, 21),
    "recovery": (recovery_messages, 25),
    "model_graphs": (model_graphs, 26),
    "gpu_evidence": (gpu_messages, 27),
    "hosts": (host_messages, 28),
}


def golden_messages() -> Iterator[tuple[str, Message]]:
    """Family and message."""
    for family, (samples, _) in FAMILIES.items():
        for message in samples():
            yield family, message


def message_files() -> Iterator[VectorFile]:
    """One file for each family."""
    for family, (samples, section) in FAMILIES.items():
        file = VectorFile(f"messages/{family}.json", "messages: `encoded` is the exact text", section, PRODUCT)
        for message in samples():
            file.add(name_of(message), message=type(message).__name__, encoded=message.encode().decode())
        yield file
    yield _refused()


def name_of(message: Message) -> str:
    """The class, and which one it is of those that come in kinds or carry one of many."""
    if isinstance(message, JobReport) and message.outcome is not None:
        return "JobReport, a job's last"
    inner = getattr(message, "body", None) or next(iter(getattr(message, "records", ())), None)
    return type(message).__name__ + (f" {type(inner).__name__}" if inner is not None else "")


def _refused() -> VectorFile:
    file = VectorFile("messages/refused.json", "messages that are no TrainingOrder of version 1", 6, PRODUCT)
    text = ORDER.encode().decode()

    def add(name: str, encoded: str) -> None:
        file.add(name, "format.message", message="TrainingOrder", encoded=encoded)

    def other(name: str, **changes: Any) -> None:
        add(name, json.dumps(json.loads(text) | changes))

    other("unknown version", version=2)
    other("version as text", version="1")
    other("another type", type="query-grant")
    other("unknown field", more=1)
    add("missing field", text.replace('"trainers":2,', ""))
    add("truncated", text[:-1])
    add("trailing bytes", text + "{}")
    add("empty", "")
    add("no object", f"[{text}]")
    other("number as text", trainers="2")
    other("number with a fraction", trainers=2.0)
    other("truth value for a number", trainers=True)
    other("below its bound", trainers=0)
    other("above its bound", trainers=1025)
    other("upper-case key", broker="A" * 64)
    other("short digest", release="b" * 63)
    other("identifier of another kind", bundle="data_" + "0" * 32)
    other("no base64", secret="wrapped!")
    other("base64 with loose bits", secret="d3JhcHBlZCD__9==")
    other("short nonce", nonce="AAECAw==")
    other("too few entries", owners=[])
    other("null", schedule=None)
    return file
