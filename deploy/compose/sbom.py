"""What an image is made of, as a CycloneDX 1.5 document (side: host; runs inside the image).

    python sbom.py NAME > NAME.cdx.json

Read are the metadata of installed Python packages and the database of Debian's: so the document says what is there, not
what somebody meant to install. A script of the standard library alone: `cloister compose sbom` pipes it into an image.
Not listed: the interpreter where an image has it from elsewhere than a package, and what wheels carry inside.
"""

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

DPKG_STATUS = Path("/var/lib/dpkg/status")


def python_packages() -> Iterator[dict[str, str]]:
    """Installed distributions (packageurl.org, type pypi)."""
    seen = {(one.name, one.version) for one in importlib.metadata.distributions()}
    for name, version in sorted(seen):
        plain = name.lower().replace("_", "-")
        yield _component(name, version, f"pkg:pypi/{quote(plain)}@{quote(version)}")


def debian_packages(status: str) -> Iterator[dict[str, str]]:
    """Installed packages of dpkg's database (deb-control(5); packageurl.org, type deb)."""
    for paragraph in status.split("\n\n"):
        field = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if field.get("Status", "").endswith(" installed"):
            name, version, machine = field["Package"], field["Version"], field["Architecture"]
            address = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={quote(machine)}"
            yield _component(name, version, address)


def document(name: str, components: list[dict[str, str]], *, now: datetime) -> dict[str, object]:
    """The whole (cyclonedx.org, JSON schema of version 1.5)."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "bom-ref": name, "name": name},
        },
        "components": components,
    }


def _component(name: str, version: str, address: str) -> dict[str, str]:
    reference = hashlib.sha256(address.encode()).hexdigest()[:16]
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": address}


def main() -> None:
    """Entry point."""
    debian = debian_packages(DPKG_STATUS.read_text()) if DPKG_STATUS.exists() else iter(())
    found = [*python_packages(), *debian]
    json.dump(document(sys.argv[1], found, now=datetime.now(UTC)), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
