"""What holders of release keys do: draft a release, sign it one after the other, end it (side: owner).

A release says for everybody which code gets keys, so each signature is a statement: *I have built this myself, and it
measures so*. In this order, before a signature is added, each raises:

  (1) the file is a release, a revocation or a platform inventory, and every signature on it is right;
  (2) the signer is one of the release keys that the trust settings name;
  (3) a release states what the signer's own build measures, by role and platform, and nothing else.

Terms over the TCB and the TDX module, and which RTMRs may differ, are the drafter's choice: signed, not measured.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from client.broker import BrokerLink
from client.context import Party
from client.events import (
    Ended,
    Event,
    InventoryShown,
    Noted,
    ReleaseShown,
    RevocationShown,
    RoleMeasured,
    RoleReleased,
    SignaturesCounted,
)
from client.measuring import OwnFiles, References, list_own_files, own_references, states
from client.release_documents import ReleaseDocument, draft_of
from common.crypto.signing import SigningKey
from common.enclave.file_lists import files_beside
from common.enclave.trust_settings import TrustSettings, require_release_revocation
from common.errors import AppraisalError, FormatError, PolicyError
from common.identifiers import CodeMeasurement
from common.messages.platform_inventory import PlatformInventory
from common.messages.reference_values import TdxReferenceValue
from common.messages.release import Release, ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.tcb_terms import TcbTerms


@dataclass(frozen=True)
class ReleaseWishes:
    """What a drafter chooses; `tcb` is for SGX and TDX."""

    name: str
    tag: str
    own: OwnFiles = field(default_factory=OwnFiles)
    tcb: TcbTerms = field(default_factory=TcbTerms)


def draft(trust: TrustSettings, cache: Path, wishes: ReleaseWishes, destination: Path) -> Iterator[Event]:
    """Measure this checkout and write an unsigned release, with the list of measured files beside it.

    Raises what measuring raises, and `ConflictError` (conflict.release_file).
    """
    files = list_own_files(trust, cache)
    references = own_references(files, wishes.own, wishes.tcb)
    release = Release(name=wishes.name, tag=wishes.tag, created=int(time.time()), measurements=references)
    draft_of(release).draft_to(destination)
    files_beside(destination).write_bytes(files.encode())
    yield from show(destination, trust)


def sign(
    key: SigningKey, trust: TrustSettings, file: Path, cache: Path, files: OwnFiles, *, measured: bool = True
) -> Iterator[Event]:
    """Checks (1) to (3), then one more signature in the same file. Without `measured`, (3) is left to faith.

    Raises `FormatError`, `AuthenticityError` (1), `PolicyError` (policy.release_key) (2), `AppraisalError` (3).
    """
    document = ReleaseDocument.read(file)  # (1)
    if key.party not in trust.release_keys:  # (2)
        raise PolicyError("policy.release_key", expected=f"one of {trust.release_keys}", seen=key.party)
    if isinstance(document.message, Release) and measured:  # (3)
        own = own_references(list_own_files(trust, cache), files)
        yield from (
            RoleMeasured(role=role, mr_enclave=CodeMeasurement(reference.code), platform=platform)
            for role, platforms in own.items()
            for platform, reference in platforms.items()
        )
        _require_same(document.message, own)
    document.with_signature_by(key).write(file)
    yield from show(file, trust)


def show(file: Path, trust: TrustSettings) -> Iterator[Event]:
    """What such a document says, and who signed it. Ends with `SignaturesCounted`."""
    document = ReleaseDocument.read(file)
    message = document.message
    if isinstance(message, Release):
        for role, platforms in sorted(message.measurements.items()):
            for platform, reference in sorted(platforms.items()):
                registers = reference.rtmrs if isinstance(reference, TdxReferenceValue) else ()
                yield RoleReleased(
                    role=role, platform=platform, kind=reference.type, code=reference.code, registers=registers
                )
        yield ReleaseShown(
            file=file.name, digest=document.digest, name=message.name, tag=message.tag, created=message.created
        )
    elif isinstance(message, PlatformInventory):
        yield InventoryShown(
            file=file.name,
            digest=document.digest,
            number=message.number,
            platforms=message.platforms,
            revoked=message.revoked,
        )
    else:
        yield RevocationShown(
            file=file.name,
            digest=document.digest,
            release=message.release,
            successor=message.successor,
            created=message.created,
        )
    yield SignaturesCounted(
        signed_by=tuple(key for key in trust.release_keys if key in document.signers),
        outsiders=tuple(sorted(document.signers - set(trust.release_keys))),
        threshold=trust.release_threshold,
        missing=document.missing(trust.release_keys, trust.release_threshold),
    )


def draft_revocation(
    file: Path, destination: Path, trust: TrustSettings, successor: Path | None = None
) -> Iterator[Event]:
    """Write an unsigned revocation of the release in `file`. It is signed like a release. Raises as `draft`."""
    named = [_release_in(file), *([] if successor is None else [_release_in(successor)])]
    revocation = ReleaseRevocation(
        release=named[0].digest, successor=named[1].digest if named[1:] else None, created=int(time.time())
    )
    draft_of(revocation).draft_to(destination)
    yield from show(destination, trust)


def revoke(party: Party, file: Path) -> Iterator[Event]:
    """Bring a revocation that is signed by enough release keys to the pinned broker. Ends with `Ended`.

    Anybody may: the document speaks for itself. Raises `AuthenticityError`, or the broker's refusal.
    """
    signed = ReleaseDocument.read(file).signed
    release = require_release_revocation(signed, party.trust.trust_settings).release
    link = BrokerLink(party)
    yield link.verify_to_end()
    revoked = link.ask(RevokeRelease(revocation=signed), Revoked)
    until = time.strftime("%H:%M:%S", time.localtime(revoked.leases_end))
    yield Noted(text=f"No enclave holds keys under this release after {until}, however its host behaves.")
    yield Ended(identifier=release, state="revoked")


def _release_in(file: Path) -> ReleaseDocument:
    document = ReleaseDocument.read(file)
    if not isinstance(document.message, Release):
        raise FormatError("format.message", expected="a release", seen=document.message.type)
    return document


def _require_same(release: Release, own: References) -> None:
    """Everything that is measured is what one's own build gives."""
    stated = {
        (role, platform): reference
        for role, platforms in release.measurements.items()
        for platform, reference in platforms.items()
    }
    measured = {(role, platform): one for role, platforms in own.items() for platform, one in platforms.items()}
    wrong = sorted(key for key in stated.keys() | measured.keys() if not states(stated.get(key), measured.get(key)))
    if wrong:
        raise AppraisalError(
            "appraisal.own_build",
            expected={key: str(measured.get(key)) for key in wrong},
            seen={key: str(stated.get(key)) for key in wrong},
        )
