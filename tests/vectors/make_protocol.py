"""Vectors of doors, bindings, logs, measurements, sealed state and HTTP signatures (side: library)."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.vectors import independent
from tests.vectors.independent import PREFIX, door_frame, named, request_mac, transcript
from tests.vectors.make_crypto import KEY, OTHER_KEY, SALT
from tests.vectors.vector_file import VectorFile, changed

ARGV: Final = ("-I", "-S", "-B", "-X", "utf8", "common/enclave/boot.py", "services.attestation.enclave")
REQUEST, REPLY, ERROR, NOTICE, LOG = range(1, 6)
CLOSES: Final = "closes"
"""Outcome of a stream after which the door is shut, without an answer."""


def protocol_files() -> Iterator[VectorFile]:
    """All files that come out the same each time."""
    yield _door()
    yield _report_data()
    yield _log_leaves()
    yield _measurements()
    yield _sealed_state()
    yield _http_requests()
    yield _keyed_requests()


def _door() -> VectorFile:
    file = VectorFile("door/frames.json", "door frames", 8)
    echo, refused = named(b"echo", b"body"), door_frame(ERROR, 7, b"format.door_frame")
    asked = door_frame(REQUEST, 7, echo)
    file.add("request", stream=asked, answers=door_frame(REPLY, 7, b"body"))
    file.add("empty content", stream=door_frame(REQUEST, 9, named(b"echo", b"")), answers=door_frame(REPLY, 9, b""))
    file.add(
        "largest number", stream=door_frame(REQUEST, 2**64 - 1, echo), answers=door_frame(REPLY, 2**64 - 1, b"body")
    )
    file.add("handler that refuses", stream=door_frame(REQUEST, 7, named(b"refuse", b"")),
             answers=door_frame(ERROR, 7, b"policy.budget"))  # fmt: skip
    file.add("notice, then request", stream=door_frame(NOTICE, 0, echo) + asked, answers=door_frame(REPLY, 7, b"body"))
    file.add("log, then request", stream=door_frame(LOG, 0, b'{"event":"enclave_ready"}') + asked,
             answers=door_frame(REPLY, 7, b"body"))  # fmt: skip
    file.add("unknown kind, then request", stream=door_frame(9, 0, echo) + asked, answers=door_frame(REPLY, 7, b"body"))
    file.add(
        "unknown handler", "format.door_frame", stream=door_frame(REQUEST, 7, named(b"other", b"")), answers=refused
    )
    file.add("no name", "format.door_frame", stream=door_frame(REQUEST, 7, b""), answers=refused)
    file.add("empty name", "format.door_frame", stream=door_frame(REQUEST, 7, b"\0body"), answers=refused)
    file.add("name that is cut", "format.door_frame", stream=door_frame(REQUEST, 7, b"\x09echo"), answers=refused)
    file.add(
        "name too long", "format.door_frame", stream=door_frame(REQUEST, 7, named(b"e" * 65, b"")), answers=refused
    )
    file.add("too large", CLOSES, stream=(2**25 + 1).to_bytes(4, "big") + asked[4:], answers=b"")
    file.add("cut in the head", CLOSES, stream=asked[:9], answers=b"")
    file.add("cut after the head", CLOSES, stream=asked[:13], answers=b"")
    file.add("cut in the body", CLOSES, stream=asked[:-1], answers=b"")
    return file


def _report_data() -> VectorFile:
    file = VectorFile("attestation/report_data.json", "report_data", 12)
    wrapping = bytes(range(256)) * 4 + bytes(192)
    fields: dict[str, Any] = {"nonce": SALT, "broker": KEY, "role": "trainer", "subject": b"\x77" * 32, "slot": 1,
                              "attempt": 2, "wrapping_public": wrapping, "signing_public": b"\x55" * 32}  # fmt: skip

    def add(name: str, **changes: Any) -> None:
        one = fields | changes
        parts = (one["nonce"], one["broker"], one["role"].encode(), one["subject"], one["slot"].to_bytes(8, "big"),
                 one["attempt"].to_bytes(8, "big"), one["wrapping_public"], one["signing_public"])  # fmt: skip
        file.add(name, **one, report_data=hashlib.sha512(transcript(PREFIX + b"report-data", *parts)).digest())

    add("trainer")
    add("another slot", slot=2)
    add("another attempt", attempt=3)
    add("another role", role="paramserver")
    add("the broker's own", role="broker", subject=bytes(32), slot=0, attempt=4)
    return file


def _log_leaves() -> VectorFile:
    file = VectorFile("attestation/log.json", "decision log", 13)
    owner, provider, job = "11" * 32, "22" * 32, "job_" + "0" * 32
    decisions: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("genesis", "recorded", "", {"document": KEY.hex()}),
        ("start", "recorded", "", {"boot_nonce": base64.urlsafe_b64encode(SALT).decode()}),
        ("accept-order", "recorded", "", {"parties": [owner, provider], "signers": [owner], "job": job}),
        ("admit-launch", "refused", "appraisal.measurement", {"parties": [owner, provider], "job": job, "slot": 1}),
    )
    leaves: list[bytes] = []
    for number, (name, outcome, code, subjects) in enumerate(decisions):
        entry = {"type": "log-entry", "version": 1, "number": number, "epoch": min(number, 1),
                 "time": 1_700_000_000 + number, "salt": base64.urlsafe_b64encode(bytes([number] * 16)).decode(),
                 "decision": name, "outcome": outcome, "code": code or None, "subjects": subjects}  # fmt: skip
        encoded = json.dumps(entry, separators=(",", ":")).encode()
        parties = [bytes.fromhex(party) for party in subjects.get("parties", [])]
        leaves.append(independent.log_leaf(number, parties, encoded))
        root = independent.merkle_root(leaves)
        file.add(name, entry=encoded, parties=parties, leaf=leaves[-1], size=len(leaves), root=root)
    return file


def _measurements() -> VectorFile:
    file = VectorFile("attestation/measurements.json", "measurement", 11)
    files = {
        "common/enclave/boot.py": b"boot",
        "services/attestation/enclave.py": b"main",
        "trust_settings.json": b"{}",
    }

    def add(name: str, files: dict[str, bytes], argv: tuple[str, ...], environment: bytes) -> None:
        file.add(name, files=files, argv=argv, environment=environment, listing=independent.listing(files),
                 mr_enclave=independent.mr_enclave(files, argv, environment))  # fmt: skip

    add("broker", files, ARGV, KEY)
    add("one byte of code", files | {"common/enclave/boot.py": b"boot!"}, ARGV, KEY)
    add("another entry", files, (*ARGV[:-1], "services.paramserver.enclave"), KEY)
    add("another environment", files, ARGV, SALT)
    return file


def _sealed_state() -> VectorFile:
    file = VectorFile("attestation/sealed_state.json", "sealed state of the broker", 13)
    entries = [
        b'{"type":"broker-state-entry","version":1,"epoch":1,"time":1700000000,"log_size":%d,"log_peaks":[%s],'
        b'"log_roots":"","identity":null,"records":[]}'
        % (size, b",".join([_base64(bytes([size]) * 32)] * size.bit_count()))
        for size in (2, 3, 4)
    ]
    chain: list[bytes] = []
    for number, entry in enumerate(entries):
        previous = hashlib.sha256(chain[-1]).digest() if chain else bytes(32)
        place = (number.to_bytes(8, "big"), previous)
        chain.append(independent.seal_blob(KEY, PREFIX + b"sealed-state", bytes([number]) * 32, entry, *place))
    refused = "authenticity.sealed_state"
    file.add("a chain of three", key=KEY, chain=chain, entries=entries)
    file.add("a shorter chain is as authentic", key=KEY, chain=chain[:2], entries=entries[:2])
    file.add("wrong key", refused, key=OTHER_KEY, chain=chain)
    file.add("reordered", refused, key=KEY, chain=[chain[0], chain[2], chain[1]])
    file.add("first entry missing", refused, key=KEY, chain=chain[1:])
    file.add("middle entry missing", refused, key=KEY, chain=[chain[0], chain[2]])
    file.add("repeated", refused, key=KEY, chain=[*chain, chain[2]])
    file.add("truncated", refused, key=KEY, chain=[chain[0], chain[1][:-1]])
    file.add("trailing byte", refused, key=KEY, chain=[chain[0], chain[1] + b"\0"])
    file.add("unknown version", refused, key=KEY, chain=[changed(chain[0], 4)])
    return file


def _base64(data: bytes) -> bytes:
    return b'"' + base64.urlsafe_b64encode(data) + b'"'


def _http_requests() -> VectorFile:
    file = VectorFile("http/requests.json", "HTTP message signature", 18)
    private, body, created = Ed25519PrivateKey.from_private_bytes(KEY), b'{"type":"enrol-identity"}', 1_700_000_000
    party = private.public_key().public_bytes_raw()
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    covered = '("@method" "@authority" "@path" "@query" "content-digest")'
    parameters = (f'{covered};created={created};nonce="AAECAwQFBgcICQoLDA0ODw";keyid="{party.hex()}"'
                  ';alg="ed25519";tag="cloister"')  # fmt: skip
    base = (f'"@method": POST\n"@authority": 127.0.0.1:8080\n"@path": /v1/identities\n"@query": ?\n'
            f'"content-digest": {digest}\n"@signature-params": {parameters}')  # fmt: skip
    signature = base64.b64encode(private.sign(base.encode())).decode()
    headers = {"content-digest": digest, "signature-input": f"cloister={parameters}",
               "signature": f"cloister=:{signature}:"}  # fmt: skip
    good: dict[str, Any] = {"method": "POST", "url": "http://127.0.0.1:8080/v1/identities", "body": body,
                            "now": created, "headers": headers}  # fmt: skip
    code, input_ = "authenticity.http_signature", headers["signature-input"]

    def other(name: str, outcome: str = code, **changes: Any) -> None:
        changes["headers"] = headers | changes.pop("header", {})
        file.add(name, outcome, **good | changes)

    spent = {"party": party, "nonce": "AAECAwQFBgcICQoLDA0ODw", "created": created}
    other_party = spent | {"party": bytes(32)}
    file.add("good", **good, party=party, base=base)
    file.add("at the end of the window", **good | {"now": created + 300}, party=party, base=base)
    file.add("a nonce that another party spent", **good, party=party, base=base, spent=[other_party])
    file.add("made when the server began", **good, party=party, base=base, began=created)
    other("a nonce that was spent", "freshness.request", spent=[spent])
    other("made before the server began", "freshness.request", began=created + 1)
    other("too old", "freshness.request", now=created + 301)
    other("from the future", "freshness.request", now=created - 301)
    other("another method", method="PUT")
    other("another host", url="http://127.0.0.1:8081/v1/identities")
    other("another path", url="http://127.0.0.1:8080/v1/orders")
    other("a query added", url="http://127.0.0.1:8080/v1/identities?a=1")
    other("another body", body=body + b" ")
    other("another key", header={"signature-input": input_.replace(party.hex(), "00" * 32)})
    other("another time", header={"signature-input": input_.replace(str(created), str(created + 1))})
    other("a component less", header={"signature-input": input_.replace(' "@query"', "")})
    other("another tag", header={"signature-input": input_.replace('"cloister"', '"other"')})
    other("two signatures", header={"signature": f"{headers['signature']}, {headers['signature']}"})
    other("trailing text", header={"signature-input": input_ + ";expires=1"})
    other("base64 without padding", header={"signature": headers["signature"].replace("=:", ":")})
    other("no signature", header={"signature": ""})
    return file


def _keyed_requests() -> VectorFile:
    """The front's side: who holds `front_private` and was offered `share` judges a request; `known` names its key."""
    file = VectorFile("http/request_keys.json", "HTTP message signature under a request key", 18)
    party = Ed25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw()
    private, front = (X25519PrivateKey.from_private_bytes(bytes(range(at, at + 32))) for at in (1, 101))
    share, answer = private.public_key().public_bytes_raw(), front.public_key().public_bytes_raw()
    body, created, name = b"a sealed query", 1_700_000_000, "request_" + "0f" * 16
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    covered = '("@method" "@authority" "@path" "@query" "content-digest")'
    parameters = (f'{covered};created={created};nonce="AAECAwQFBgcICQoLDA0ODw";keyid="{name}"'
                  ';alg="hmac-sha256";tag="cloister"')  # fmt: skip
    path = f"/v1/models/model_{'0' * 32}/queries"
    base = (f'"@method": POST\n"@authority": front.example\n"@path": {path}\n"@query": ?launch=0123456789abcdef\n'
            f'"content-digest": {digest}\n"@signature-params": {parameters}')  # fmt: skip
    mac = request_mac(private.exchange(front.public_key()), share, answer, party, base.encode())
    headers = {"content-digest": digest, "signature-input": f"cloister={parameters}",
               "signature": f"cloister=:{base64.b64encode(mac).decode()}:"}  # fmt: skip
    good: dict[str, Any] = {
        "front_private": bytes(range(101, 133)), "front_share": answer, "share": share, "party": party, "known": name,
        "method": "POST", "url": f"https://front.example{path}?launch=0123456789abcdef", "body": body, "now": created,
        "headers": headers,
    }  # fmt: skip
    code, input_ = "authenticity.http_signature", headers["signature-input"]
    file.add("good", **good, base=base)
    file.add("a name that is not known", "authenticity.request_key", **good | {"known": "request_" + "f0" * 16})
    file.add("too old", "freshness.request", **good | {"now": created + 301})
    file.add("another path", code, **good | {"url": good["url"].replace("queries", "batches")})
    file.add("another body", code, **good | {"body": body + b" "})
    file.add("agreed on by another party", code, **good | {"party": bytes(31) + b"\1"})
    file.add("another share", code, **good | {"share": answer})
    file.add("a share of low order", "format.message", **good | {"share": bytes(32)})
    for what, before, after in (
        ("another time", str(created), str(created + 1)),
        ("called ed25519", "hmac-sha256", "ed25519"),
        ("under a public key", name, party.hex()),
        ("another MAC", "hmac-sha256", "hmac-sha512"),
    ):
        file.add(what, code, **good | {"headers": headers | {"signature-input": input_.replace(before, after)}})
    short = headers["signature"].replace("=:", ":")
    file.add("base64 without padding", code, **good | {"headers": headers | {"signature": short}})
    return file
