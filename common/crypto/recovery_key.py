"""The recovery key of one identity, in a file of its own that is to be kept offline (side: owner).

JSON, mode 0600, apart from the key file (`key_file`). It can end that identity and do nothing else: it signs recovery
statements, and at its birth the identity's card, so that nobody names a key that he has not. Services refuse everything
else that carries its signature.
"""

import json
import os
from pathlib import Path
from typing import Final, Self

from common.crypto.keys import HiddenKey
from common.crypto.labels import SIGNED_DOCUMENT
from common.crypto.signing import SigningKey
from common.errors import FormatError
from common.identifiers import PartyKey

CARD_TYPE: Final = "identity-card"
STATEMENT_TYPE: Final = "recovery-statement"


class RecoveryKey(HiddenKey):
    """The key that revokes or replaces `party`. `public` is what that identity's card names."""

    __slots__ = ("_key", "party", "public")

    def __init__(self, party: PartyKey, key: SigningKey) -> None:
        self.party, self._key, self.public = party, key, key.party

    @classmethod
    def generate(cls, party: PartyKey) -> Self:
        """A fresh key for this identity."""
        return cls(party, SigningKey.generate())

    def sign_card(self, payload: bytes) -> bytes:
        """64 bytes over an encoded IdentityCard, as signed documents are signed (common/messages/signed)."""
        return self._key.sign(SIGNED_DOCUMENT, CARD_TYPE.encode(), payload)

    def sign_statement(self, payload: bytes) -> bytes:
        """64 bytes over an encoded RecoveryStatement, likewise."""
        return self._key.sign(SIGNED_DOCUMENT, STATEMENT_TYPE.encode(), payload)

    def write(self, path: Path) -> None:
        """Write the file; an existing one is never overwritten (`FileExistsError`)."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(
                {
                    "type": "cloister-recovery-key",
                    "version": 1,
                    "party": self.party,
                    "recovery": self.public,
                    "recovery_seed": self._key.seed_for_sealing().hex(),
                },
                file,
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises `FormatError` when others may read it, or when it is none."""
        try:
            if path.stat().st_mode & 0o077:
                raise FormatError(
                    "format.message", expected="a recovery key of mode 0600", seen=oct(path.stat().st_mode)
                )
            fields = json.loads(path.read_text())
            if (fields["type"], fields["version"]) != ("cloister-recovery-key", 1):
                raise FormatError("format.message", expected="a recovery key of version 1")
            return cls(PartyKey(fields["party"]), SigningKey.from_seed(bytes.fromhex(fields["recovery_seed"])))
        except (OSError, KeyError, ValueError, TypeError):
            raise FormatError("format.message", expected="a recovery key made by `cloister keygen`") from None
