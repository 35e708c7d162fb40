"""Vectors of wrapping (HPKE), one for each binding (side: library).

HPKE is randomised, so these are not reproducible: they were made once, and the file is kept. Private key seeds are in
it; tests/vectors/independent.py opens them without the product's code.
"""

from typing import Any, Final

from common.crypto.wrapping import WrappingKey, wrap
from tests.vectors import independent
from tests.vectors.independent import PREFIX
from tests.vectors.make_crypto import KEY
from tests.vectors.vector_file import VectorFile, changed

SEED: Final = bytes(range(96))
_FOREIGN: Final = "authenticity.wrapped_key"
_SOURCE: Final = (
    "made once by the product (HPKE draws a fresh key for each message); `info` by tests/vectors/independent.py"
)


def digest_of(digit: str) -> str:
    """A made-up digest or key: one digit, 64 times."""
    return digit * 64


BINDINGS: Final[dict[str, dict[str, Any]]] = {
    "data key": {
        name: digest_of(digit) for name, digit in zip(("manifest", "owner", "policy", "broker"), "1234", strict=True)
    },
    "bundle key": {
        name: digest_of(digit)
        for name, digit in zip(("publication", "provider", "terms", "broker"), "5674", strict=True)
    },
    "policy": {"party": digest_of("2"), "policy": digest_of("3"), "broker": digest_of("4")},
    "order secret": {"nonce": "08" * 16, "owner": digest_of("2"), "broker": digest_of("9")},
    "key grant": {"report_data": "ab" * 64},
    "report": {"order": digest_of("c"), "owner": digest_of("2"), "sequence": 7},
    "provider report": {"job": ("job_" + "0" * 32).encode().hex(), "provider": digest_of("5")},
    "session": {"report_data": "ab" * 64, "manifest": digest_of("e"), "placement": digest_of("f")},
    "own key": {"root": digest_of("1")},
    "refusal detail": {"request": digest_of("d"), "party": digest_of("2")},
    "ledger": {"request": digest_of("d"), "party": digest_of("2")},
    "held share": {
        "broker": digest_of("4"), "dataset": ("data_" + "0" * 32).encode().hex(), "policy": digest_of("3"),
        "policy_version": 2, "epoch": 5, "holder": digest_of("1"),
    },
    "given share": {
        "package": digest_of("c"), "successor": digest_of("7"), "epoch": 1, "boot_nonce": "ab" * 32,
        "holder": digest_of("1"),
    },
}  # fmt: skip
"""What each binding names, in the order of its transcript."""


def info_of(binding: str) -> bytes:
    """The `info` of a binding, as docs/formats.md states it."""
    parts = (
        value.to_bytes(8, "big") if isinstance(value, int) else bytes.fromhex(value)
        for value in BINDINGS[binding].values()
    )
    return independent.transcript(PREFIX + b"wrap/" + binding.replace(" ", "-").encode(), *parts)


def wrapped_file() -> VectorFile:
    """The file, with fresh randomness."""
    file = VectorFile("crypto/wrapped.json", "wrapping", 3, _SOURCE)
    public = WrappingKey(SEED).public
    for binding, bound in BINDINGS.items():
        info = info_of(binding)
        plaintext = independent.ring({"data": KEY})
        wrapped = wrap(plaintext, public, info)
        file.add(binding, binding=binding, bound=bound, seed=SEED, info=info, plaintext=plaintext, wrapped=wrapped)
        fields = {"binding": binding, "bound": bound, "seed": SEED, "wrapped": wrapped}
        for name, value in bound.items():
            file.add(f"{binding}: foreign {name}", _FOREIGN, **fields | {"bound": bound | {name: foreign(value)}})
        if binding == "data key":
            _add_failures(file, fields)
    return file


def foreign(value: str | int) -> str | int:
    """Another digest, key or number of the same size."""
    return value + 1 if isinstance(value, int) else value[:-1] + ("1" if value[-1] == "0" else "0")


def _add_failures(file: VectorFile, fields: dict[str, Any]) -> None:
    bound, wrapped = fields["bound"], fields["wrapped"]
    file.add("wrong key", _FOREIGN, **fields | {"seed": bytes(96)})
    as_bundle = {"binding": "bundle key", "bound": dict(zip(BINDINGS["bundle key"], bound.values(), strict=True))}
    file.add("taken for a bundle key", _FOREIGN, **fields | as_bundle)
    file.add("changed encapsulation", _FOREIGN, **fields | {"wrapped": changed(wrapped, 0)})
    file.add("changed share", _FOREIGN, **fields | {"wrapped": changed(wrapped, 1088)})
    file.add("truncated", _FOREIGN, **fields | {"wrapped": wrapped[:-1]})
    file.add("too short", _FOREIGN, **fields | {"wrapped": wrapped[:1000]})
    file.add("trailing byte", _FOREIGN, **fields | {"wrapped": wrapped + b"\0"})
