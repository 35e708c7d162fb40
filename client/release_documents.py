"""What release keys sign, as files that go from one holder to the next (side: owner).

A draft is the encoded document alone. The first signature makes it a signed document, each later one is added to it
over the very same bytes. So the digest, which is what people compare, is that of the draft from the beginning.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.errors import ConflictError, FormatError
from common.identifiers import Digest, PartyKey
from common.json_text import read_json
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.platform_inventory import PlatformInventory
from common.messages.release import Release, ReleaseRevocation
from common.messages.signed import Signature, Signed, require_right_signatures, signature_by

ReleaseMessage = Release | ReleaseRevocation | PlatformInventory
"""What release keys sign."""

_KINDS: Final[dict[str, type[ReleaseMessage]]] = {
    "platform-inventory": PlatformInventory,
    "release": Release,
    "release-revocation": ReleaseRevocation,
}


@dataclass(frozen=True)
class ReleaseDocument:
    """A document, its exact bytes, and right signatures, if any; whose they are, its reader decides."""

    message: ReleaseMessage
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """A draft or a signed document. Raises `FormatError` or `AuthenticityError` (authenticity.signature)."""
        raw = path.read_bytes()
        kind, payload = _type_of(raw), raw
        signatures: tuple[Signature, ...] = ()
        if kind == "signed":
            signed = Signed.decode(raw)
            require_right_signatures(signed)
            kind, signatures, payload = signed.payload_type, signed.signatures, signed.payload
        if kind not in _KINDS:
            raise FormatError("format.message", expected="what release keys sign", seen=kind)
        return cls(_KINDS[kind].decode(payload), payload, signatures)

    @property
    def digest(self) -> Digest:
        """Its fingerprint."""
        return sha256(self.payload)

    @property
    def signers(self) -> frozenset[PartyKey]:
        """Whose signatures it has."""
        return frozenset(one.signer for one in self.signatures)

    @property
    def signed(self) -> Signed:
        """For those who take signed documents. Raises `FormatError` for a draft."""
        if not self.signatures:
            raise FormatError("format.message", expected="a signed document", seen="a draft")
        return Signed(payload_type=self.message.type, payload=self.payload, signatures=self.signatures)

    def with_signature_by(self, key: SigningKey) -> Self:
        """With one more signature; a second one by the same key changes nothing."""
        if key.party in self.signers:
            return self
        return replace(self, signatures=(*self.signatures, signature_by(key, self.message.type, self.payload)))

    def missing(self, release_keys: Collection[PartyKey], threshold: int) -> int:
        """How many more of the release keys must sign."""
        return max(0, threshold - len(self.signers & set(release_keys)))

    def draft_to(self, path: Path) -> None:
        """Write it unsigned. Raises `ConflictError` (conflict.release_file) where there is a file."""
        try:
            with path.open("xb") as file:
                file.write(self.payload)
        except FileExistsError:
            raise ConflictError("conflict.release_file", expected="a new file", seen=path) from None

    def write(self, path: Path) -> None:
        """Put it in the place of the file that it was read from; a crash leaves that or this."""
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(self.signed.encode())
        beside.replace(path)


def draft_of(message: ReleaseMessage) -> ReleaseDocument:
    """An unsigned document."""
    return ReleaseDocument(message, message.encode())


def _type_of(raw: bytes) -> str:
    try:
        return str(read_json(raw)["type"]) if len(raw) <= 2 * MAX_MESSAGE_BYTES else "too much"
    except (ValueError, KeyError, TypeError):
        return "no message"
