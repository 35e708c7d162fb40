"""Doors, bindings, logs, measurements, sealed state, HTTP signatures: both implementations agree."""

import os
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.request_keys import RequestKeyShare
from common.door import Door
from common.enclave import measurement
from common.enclave.roles import role_spec
from common.errors import AuthenticityError, PolicyError, Refusal
from common.http_signatures import SignedRequest, Target, _signature_base, verify_request
from common.identifiers import Digest, PartyKey, RequestKeyId, RoleName
from common.messages.launch_binding import LaunchBinding
from common.transparency import log_leaf, log_tag, tags_of
from common.untrusted.http_identity import ReplayGuard
from services.attestation.decision_log import DecisionLog, WrittenEntry
from services.attestation.state import StateKeys
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS, read_vectors

Vector = dict[str, Any]


def _refuse(_body: bytes) -> bytes:
    raise PolicyError("policy.budget", expected="never crosses the door")


@each_vector("door/frames.json")
def test_door_frames(vector: Vector) -> None:
    """The stream goes in and its end follows once the answers are there; whatever else came out would show."""
    answers = bytes.fromhex(vector["answers"])
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    with os.fdopen(ours_read, "rb", 0) as received, os.fdopen(ours_write, "wb", 0) as sent:
        door_end, writer = os.fdopen(theirs_read, "rb", 0), os.fdopen(theirs_write, "wb", 0)
        door = Door(door_end, writer, {"echo": lambda body: body, "refuse": _refuse}, on_log=lambda _: None)
        thread = threading.Thread(target=door.serve, daemon=True)
        thread.start()
        sent.write(bytes.fromhex(vector["stream"]))
        assert _read(received, len(answers)) == answers
        sent.close()
        thread.join(5)
        assert door.closed.is_set()
        door_end.close()
        writer.close()
        assert received.read() == b""


def _read(stream: Any, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := stream.read(count - len(data))):
        data += piece
    return data


@each_vector("attestation/report_data.json")
def test_report_data(vector: Vector) -> None:
    binding = LaunchBinding(
        nonce=bytes.fromhex(vector["nonce"]),
        broker=Digest(vector["broker"]),
        role=RoleName(vector["role"]),
        subject=Digest(vector["subject"]),
        slot=vector["slot"],
        attempt=vector["attempt"],
        wrapping_public=bytes.fromhex(vector["wrapping_public"]),
        signing_public=PartyKey(vector["signing_public"]),
    )
    assert binding.report_data().hex() == vector["report_data"]


def test_decision_log() -> None:
    log = DecisionLog(1)
    for vector in read_vectors("attestation/log.json"):
        entry, number = bytes.fromhex(vector["entry"]), vector["size"] - 1
        assert log_leaf(entry).hex() == vector["leaf"]
        parties = {log_tag(number, PartyKey(party)) for party in vector["parties"]}
        assert tags_of(bytes.fromhex(vector["leaf"]), number) == parties
        log = log.extended(WrittenEntry(entry, log_leaf(entry)))
        assert (log.head.size, log.head.root) == (vector["size"], vector["root"])


@each_vector("attestation/measurements.json")
def test_measurements(vector: Vector) -> None:
    files = {name: sha256(bytes.fromhex(content)) for name, content in vector["files"].items()}
    entry = vector["argv"][-1]
    spec = next(one for one in (role_spec("broker"), role_spec("paramserver")) if one.entry == entry)
    assert list(measurement.measured_argv(spec)) == vector["argv"]
    assert measurement.encode_listing(files).hex() == vector["listing"]
    assert measurement.mr_enclave_of(files, spec, Digest(vector["environment"])) == vector["mr_enclave"]


def _open_chain(key: bytes, chain: Iterable[bytes]) -> list[bytes]:
    keys, previous, entries = StateKeys(SecretKey(key)), bytes(32), []
    for number, blob in enumerate(chain):
        entries.append(keys.open_entry(blob, number, previous).encode())
        previous = sha256(blob).raw()
    return entries


@each_vector("attestation/sealed_state.json")
def test_sealed_state(vector: Vector) -> None:
    key, chain = bytes.fromhex(vector["key"]), [bytes.fromhex(blob) for blob in vector["chain"]]
    if vector["outcome"] == OPENS:
        assert [entry.hex() for entry in _open_chain(key, chain)] == vector["entries"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _open_chain(key, chain)


def _admit(vector: Vector, target: Target) -> SignedRequest:
    """All checks of a server that began at `began` and has taken the requests in `spent`."""
    guard = ReplayGuard(now=lambda: vector.get("began", 0))
    for one in vector.get("spent", []):
        guard.spend(PartyKey(one["party"]), one["nonce"], one["created"])
    request = verify_request(target, vector["headers"], vector["now"])
    guard.spend(request.party, request.nonce, request.created)
    request.require_content(bytes.fromhex(vector["body"]))
    return request


@each_vector("http/requests.json")
def test_http_requests(vector: Vector) -> None:
    target, headers = Target.of(vector["method"], vector["url"]), vector["headers"]
    if vector["outcome"] == OPENS:
        assert _admit(vector, target).party == vector["party"]
        parameters = headers["signature-input"].removeprefix("cloister=")
        assert _signature_base(target, headers["content-digest"], parameters).decode() == vector["base"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _admit(vector, target)


class _Front:
    """A front that has agreed on one request key, by fixed shares."""

    def __init__(self, vector: Vector) -> None:
        share = RequestKeyShare(X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["front_private"])))
        assert share.public.hex() == vector["front_share"]
        self.party = PartyKey(vector["party"])
        self.key = share.agree_as_front(bytes.fromhex(vector["share"]), self.party, RequestKeyId(vector["known"]))

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        if name != self.key.name:
            raise AuthenticityError("authenticity.request_key", seen=int(now))
        self.key.verify_http(mac, signature_base)
        return self.party


def _admit_keyed(vector: Vector) -> SignedRequest:
    target = Target.of(vector["method"], vector["url"])
    request = verify_request(target, vector["headers"], vector["now"], _Front(vector))
    request.require_content(bytes.fromhex(vector["body"]))
    return request


@each_vector("http/request_keys.json")
def test_keyed_requests(vector: Vector) -> None:
    headers = vector["headers"]
    if vector["outcome"] == OPENS:
        assert _admit_keyed(vector).party == vector["party"]
        target, parameters = Target.of(vector["method"], vector["url"]), headers["signature-input"]
        base = _signature_base(target, headers["content-digest"], parameters.removeprefix("cloister="))
        assert base.decode() == vector["base"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _admit_keyed(vector)
