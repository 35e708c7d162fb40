"""Makes sealed_object.json: a second implementation of docs/formats.md that shares no code with Cloister.

python tests/vectors/sealed_object/generate.py > tests/vectors/sealed_object/sealed_object.json
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 1024
KEY = bytes(range(32))
PAYLOAD = bytes(i * 7 % 251 for i in range(1500))


def transcript(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def hkdf(key: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def header(
    *, chunks: int, salt: int, version: int = 1, kind: int = 1, chunk: int = CHUNK, magic: bytes = b"CLSO"
) -> bytes:
    fields = magic + bytes([version, kind, 0, 0]) + struct.pack(">II", chunk, chunks) + bytes([salt]) * 32
    return fields + bytes(16)


def seal(head: bytes, plain: bytes, key: bytes = KEY) -> list[bytes]:
    cipher = AESGCM(hkdf(key, transcript(b"cloister/v1/stream-key", head)))
    pieces = [plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK)]
    last = len(pieces) - 1
    return [cipher.encrypt(i.to_bytes(11, "big") + bytes([i == last]), piece, None) for i, piece in enumerate(pieces)]


def plaintext(payload: bytes, chunks: int = 2, *, length: int | None = None, padding: bytes = b"\0") -> bytes:
    stated = struct.pack(">Q", len(payload) if length is None else length)
    return (stated + payload).ljust(chunks * CHUNK, padding)


def root(head: bytes, chunks: list[bytes]) -> str:
    def node(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return hashlib.sha256(b"\1" + node(leaves[:split]) + node(leaves[split:])).digest()

    return node([head, *(hashlib.sha256(chunk).digest() for chunk in chunks)]).hex()


def vector(name: str, head: bytes, chunks: list[bytes], **changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "name": name, "key": KEY.hex(), "root": root(head, chunks), "chunk_count": len(chunks),
        "leaves": [leaf.hex() for leaf in (head, *chunks)], "outcome": "authenticity.sealed_object",
    }  # fmt: skip
    return fields | changes


def main() -> None:
    head = header(chunks=2, salt=0x11)
    chunks = seal(head, plaintext(PAYLOAD))
    good = root(head, chunks)
    other_head = header(chunks=2, salt=0x22)
    other = seal(other_head, plaintext(PAYLOAD[::-1]))
    flipped = [bytes([chunks[0][0] ^ 1]) + chunks[0][1:], chunks[1]]
    malformed, opens = {"outcome": "format.sealed_object"}, {"outcome": "opens"}
    empty_head = header(chunks=1, salt=0x33, kind=3)
    shorter, longer = header(chunks=1, salt=0x11), header(chunks=3, salt=0x11)
    vectors = [
        vector("two chunks", head, chunks, payload=PAYLOAD.hex(), **opens),
        vector("empty payload", empty_head, seal(empty_head, plaintext(b"", 1)), payload="", **opens),
        vector("wrong key", head, chunks, key=bytes(32).hex()),
        vector("wrong root", head, chunks, root="00" * 32),
        vector("flipped bit", head, flipped, root=good),
        vector("reordered", head, chunks[::-1], root=good),
        vector("a chunk of another object under this key", head, [chunks[0], other[1]], root=good),
        vector("another object under this key", other_head, other, root=good),
        vector("truncated, header untouched", head, chunks[:1], root=good, chunk_count=2, outcome="not_found.object"),
        vector("truncated, header adapted", shorter, chunks[:1]),
        vector("extended, header adapted", longer, [*chunks, chunks[1]]),
        vector("manifest states another count", head, chunks, chunk_count=3),
        vector("trailing byte in a chunk", head, [chunks[0], chunks[1] + b"\0"]),
        vector("trailing byte in the header", head + b"\0", chunks, **malformed),
        vector("short header", head[:-1], chunks, **malformed),
        vector("another magic", header(chunks=2, salt=0x11, magic=b"XLSO"), chunks, **malformed),
        vector("unknown version", header(chunks=2, salt=0x11, version=2), chunks, **malformed),
        vector("unknown kind", header(chunks=2, salt=0x11, kind=9), chunks, **malformed),
        vector("reserved byte set", head[:6] + b"\1" + head[7:], chunks, **malformed),
        vector("last byte set", head[:-1] + b"\1", chunks, **malformed),
        vector("chunk size no power of two", header(chunks=2, salt=0x11, chunk=1025), chunks, **malformed),
        vector("chunk count no size class", header(chunks=9, salt=0x11), chunks, chunk_count=9, **malformed),
        vector("padding that is not zeros", head, seal(head, plaintext(PAYLOAD, padding=b"\1")), **malformed),
        vector("length beyond the object", head, seal(head, plaintext(PAYLOAD, length=3000)), **malformed),
        vector("length of a smaller size class", head, seal(head, plaintext(PAYLOAD, length=3)), **malformed),
    ]
    source = "made by tests/vectors/sealed_object/generate.py, which shares no code with Cloister"
    json.dump({"source": source, "vectors": vectors}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
