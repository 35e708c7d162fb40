"""Parties who plant markers in all that they want to keep secret, and code that shouts them (side: owner)."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.digits import DigitsFiles
from client.measuring import CODE_ROOT

MARKER_BYTES: Final = 64
"""An image of 8 x 8 pixels; every window of 8 bytes of it is unique in the world."""

_SOURCE: Final = CODE_ROOT / "examples" / "providers" / "digits_cnn"
_CONSTRUCTOR: Final = "        super().__init__()\n"
_FORWARD: Final = "        return logits\n"
_STEP: Final = '        return functional.cross_entropy(self(batch["image"]), batch["label"])\n'


def _marker() -> bytes:
    return secrets.token_bytes(MARKER_BYTES)


@dataclass(frozen=True)
class HiddenWords:
    """One marker for each secret."""

    pixels: bytes = field(default_factory=_marker)
    column: bytes = field(default_factory=_marker)
    constant: bytes = field(default_factory=_marker)
    comment: bytes = field(default_factory=_marker)
    weights: bytes = field(default_factory=_marker)
    query: bytes = field(default_factory=_marker)

    def by_name(self) -> dict[str, bytes]:
        """What the scanner looks for."""
        return dict(vars(self))

    def write_data(self, digits: DigitsFiles, destination: Path) -> Path:
        """The digits with marked images (one row in eight) and a marked column that no bundle reads."""
        with np.load(digits.train, allow_pickle=False) as columns:
            image, label = columns["image"].copy(), columns["label"]
        image[::8] = self.image("pixels")
        note = np.broadcast_to(np.frombuffer(self.column, np.uint8), (len(label), MARKER_BYTES))
        np.savez(destination, image=image, label=label, note=note)
        return destination

    def write_bundle(self, destination: Path) -> Path:
        """The example, smaller, with a marked comment and constant, and a marked buffer that is part of its state.

        Asked, it answers with the buffer. Trained, it writes data, code and buffer to every stream and file it can.
        """
        shout = (
            '        spoken = (CONSTANT.hex(), bytes(batch["image"].byte().flatten().tolist()), self.hidden)\n'
            "        print(*spoken, flush=True)\n"
            "        print(*spoken, file=sys.stderr, flush=True)\n"
            "        warnings.warn(repr(spoken), stacklevel=1)\n"
            '        os.environ["SPOKEN"] = CONSTANT.hex()\n'
            '        with contextlib.suppress(OSError), open("/tmp/spoken", "wb") as file:\n'
            "            file.write(CONSTANT + spoken[1])\n"
        )
        numbers = f'list(bytes.fromhex("{self.weights.hex()}"))'
        buffer = f'        self.register_buffer("hidden", torch.tensor({numbers}).float())\n'
        code = (_SOURCE / "digits_cnn.py").read_text()
        code = code.replace("16, 32", "4, 8").replace("(1, 16", "(1, 4").replace("32 * 4 * 4, 64", "8 * 4 * 4, 16")
        code = code.replace("nn.Linear(64", "nn.Linear(16")
        code = _replaced(code, _CONSTRUCTOR, _CONSTRUCTOR + buffer)
        code = _replaced(code, _FORWARD, "        return logits if self.training else self.hidden[:10] + 0 * logits\n")
        code = _replaced(code, _STEP, shout + _STEP)
        head = f"# {self.comment.hex()}\nimport contextlib, os, sys, warnings\n"
        head += f'CONSTANT = bytes.fromhex("{self.constant.hex()}")\n'
        destination.mkdir()
        (destination / "digits_cnn.py").write_text(head + code)
        (destination / "provider.toml").write_text((_SOURCE / "provider.toml").read_text())
        return destination

    def image(self, name: str) -> NDArray[np.uint8]:
        """A marker as an image."""
        return np.frombuffer(vars(self)[name], np.uint8).reshape(8, 8)


def _replaced(code: str, old: str, new: str) -> str:
    if old not in code:
        raise RuntimeError(f"the example has changed: no {old!r}")
    return code.replace(old, new)
