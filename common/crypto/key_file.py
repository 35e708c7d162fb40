"""A party's key file on its own machine (side: owner).

JSON, mode 0600, in a directory of mode 0700. It holds the identity (Ed25519) and the report key (HPKE), which opens
what enclaves seal to this party. `unsafe_simulation` marks an identity that was made for simulated platforms:
a production key broker refuses documents that it signs.
"""

import json
import os
from pathlib import Path
from typing import Self

from common.crypto.keys import HiddenKey
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.errors import FormatError
from common.json_text import read_json


class Identity(HiddenKey):
    """The keys of one party."""

    __slots__ = ("name", "report_key", "signing_key", "unsafe_simulation")

    def __init__(self, name: str, signing: SigningKey, report: WrappingKey, *, unsafe_simulation: bool) -> None:
        self.name, self.signing_key, self.report_key = name, signing, report
        self.unsafe_simulation = unsafe_simulation

    @classmethod
    def generate(cls, name: str, *, unsafe_simulation: bool) -> Self:
        """A fresh identity."""
        return cls(name, SigningKey.generate(), WrappingKey.generate(), unsafe_simulation=unsafe_simulation)

    def write(self, path: Path) -> None:
        """Write the key file; an existing one is never overwritten (`FileExistsError`)."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(
                {
                    "type": "cloister-identity",
                    "version": 1,
                    "name": self.name,
                    "unsafe_simulation": self.unsafe_simulation,
                    "party": self.signing_key.party,
                    "signing_seed": self.signing_key.seed_for_sealing().hex(),
                    "report_seed": self.report_key.seed_for_sealing().hex(),
                },
                file,
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key file. Raises `FormatError` when others may read it, or when it is none."""
        try:
            if path.stat().st_mode & 0o077:
                raise FormatError("format.message", expected="a key file of mode 0600", seen=oct(path.stat().st_mode))
            fields = read_json(path.read_bytes())
            if (fields["type"], fields["version"]) != ("cloister-identity", 1):
                raise FormatError("format.message", expected="an identity of version 1")
            name, unsafe_simulation = fields["name"], fields["unsafe_simulation"]
            signing_key = SigningKey.from_seed(bytes.fromhex(fields["signing_seed"]))
            if (type(name), type(unsafe_simulation), fields["party"]) != (str, bool, signing_key.party):
                raise FormatError("format.message", expected="a name, a truth value, and the party of this seed")
            report_key = WrappingKey(bytes.fromhex(fields["report_seed"]))
            return cls(name, signing_key, report_key, unsafe_simulation=unsafe_simulation)
        except (OSError, KeyError, ValueError, TypeError):
            raise FormatError("format.message", expected="a key file made by `cloister keygen`") from None
