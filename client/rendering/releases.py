"""Events of releases as lines for a person: a mark, a text, a style (side: owner)."""

import time
from collections.abc import Iterator

from client import events as e
from client.rendering.words import Line

ReleaseTold = e.RoleReleased | e.ReleaseShown | e.RevocationShown | e.SignaturesCounted
FilesTold = e.EnclaveBuilt | e.FileListed | e.FilesVerified
InventoryTold = e.InventoryShown | e.InventoryInForce


def release_lines(event: ReleaseTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.RoleReleased():
            yield "released", f"{event.role:<12} {event.platform:<11} {event.kind:<10} {event.code}", ""
            for number, register in enumerate(event.registers):
                yield "", f"RTMR{number}  {register or 'any'}", ""
        case e.ReleaseShown():
            yield "release", f"{event.name} {event.tag}  in {event.file}", ""
            yield "digest", event.digest, "bold"
        case e.RevocationShown():
            yield "revokes", f"release {event.release}  in {event.file}", "bold red"
            if event.successor is not None:
                yield "instead", f"release {event.successor}", ""
            yield "digest", event.digest, "bold"
        case e.SignaturesCounted():
            for signer in event.signed_by:
                yield "signed by", signer, ""
            for signer in event.outsiders:
                yield "and by", f"{signer}, which is no release key", "yellow"
            missing = f"signatures missing: {event.missing}" if event.missing else "signed by enough release keys"
            yield "threshold", f"{event.threshold}: {missing}", "bold yellow" if event.missing else "bold green"


def files_lines(event: FilesTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.EnclaveBuilt():
            yield "built", f"{event.role:<12} {event.files} files, {event.bytes / 1e6:.1f} MB, in {event.folder}", ""
        case e.FileListed():
            here = f"  here {event.own or 'absent'}" if event.compared and event.own != event.sha256 else ""
            yield "file", f"{event.sha256 or 'not in the release':<64}  {event.name}{here}", ""
        case e.FilesVerified():
            yield "leads to", f"{event.mr_enclave}, as the release states for the {event.role}", "green"
            yield "", f"{event.files} files, environment {event.environment}", ""
            if event.differing is not None:
                yield "differ", f"{event.differing} of them from this checkout", "bold"
            if event.own_environment not in {None, event.environment}:
                words = f"the environment, too: interpreter and packages here are {event.own_environment}"
                yield "differs", words, "bold"


def inventory_lines(event: InventoryTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.InventoryShown():
            yield "inventory", f"number {event.number}  in {event.file}", "bold"
            for platform in event.platforms:
                yield "known", platform, ""
            for platform in event.revoked:
                yield "revoked", platform, "bold red"
            yield "digest", event.digest, "bold"
        case e.InventoryInForce():
            until = time.strftime("%H:%M:%S", time.localtime(event.leases_end))
            yield "in force", f"inventory {event.number}: no machine that it revokes holds a key after {until}", ""
