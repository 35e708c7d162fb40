"""Events of releases: enclaves, documents, their signatures and files, inventories of machines (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import Digest, HexBytes48, MrEnclave, PartyKey, PlatformId
from common.messages.base import Count


class RoleReleased(Event):
    """What a release says an enclave must be; `code` is a measurement or, of kind `sgx-signer`, who signs its code.

    `registers` are RTMR0 to RTMR3 of a trust domain; null: any.
    """

    type: Literal["role-released"] = "role-released"
    role: str
    platform: str
    kind: str
    code: str
    registers: tuple[HexBytes48 | None, ...] = ()


class ReleaseShown(Event):
    """A release in a file. `digest` is its fingerprint: what policies, orders and people name."""

    type: Literal["release-shown"] = "release-shown"
    file: str
    digest: Digest
    name: str
    tag: str
    created: Count


class RevocationShown(Event):
    """A revocation in a file, and the release that it ends."""

    type: Literal["revocation-shown"] = "revocation-shown"
    file: str
    digest: Digest
    release: Digest
    successor: Digest | None
    created: Count


class InventoryShown(Event):
    """A platform inventory in a file."""

    type: Literal["inventory-shown"] = "inventory-shown"
    file: str
    digest: Digest
    number: Count
    platforms: tuple[PlatformId, ...]
    revoked: tuple[PlatformId, ...]


class InventoryInForce(Event):
    """The broker took it; after `leases_end` (Unix seconds) no machine that it revokes holds a key."""

    type: Literal["inventory-in-force"] = "inventory-in-force"
    digest: Digest
    number: Count
    leases_end: Count


class SignaturesCounted(Event):
    """Who of the release keys has signed, how many more it takes, and who signed without being asked."""

    type: Literal["signatures-counted"] = "signatures-counted"
    signed_by: tuple[PartyKey, ...]
    outsiders: tuple[PartyKey, ...]
    threshold: Count
    missing: Count


class EnclaveBuilt(Event):
    """An enclave's file tree and manifest for Gramine; `files` are all that it trusts, with so many `bytes`."""

    type: Literal["enclave-built"] = "enclave-built"
    role: str
    folder: str
    files: Count
    bytes: Count


class FileListed(Event):
    """A file of an enclave; with `compared`, `own` is this checkout's. Null: absent on that side, or not compared."""

    type: Literal["file-listed"] = "file-listed"
    name: str
    sha256: Digest | None
    own: Digest | None = None
    compared: bool = False


class FilesVerified(Event):
    """A list of files leads to the measurement that a release states for this role.

    `differing` and `own_environment` where it was compared with this checkout and its interpreter and packages.
    """

    type: Literal["files-verified"] = "files-verified"
    role: str
    mr_enclave: MrEnclave
    environment: Digest
    files: Count
    differing: Count | None = None
    own_environment: Digest | None = None
