"""Manifests from templates: services/*/enclave.manifest.template and the list of an enclave's files (side: host).

A template says everything but the files, so that it can be reviewed: who reads it knows what the enclave may do. What
is rendered depends on template and files alone.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from common.enclave.roles import RoleSpec
from common.errors import UnavailableError
from deploy.enclaves.manifest import parse_manifest
from deploy.enclaves.staging import StagedFile

TEMPLATE: Final = "enclave.manifest.template"
"""Beside `enclave.py` of each service that has an enclave. Its language is Jinja, as Gramine's own templates'."""


def template_of(spec: RoleSpec, code_root: Path) -> Path:
    """Where a role's template lies."""
    return code_root.joinpath(*spec.entry.split(".")[:-1], TEMPLATE)


def render(template: Path, files: Iterable[StagedFile]) -> bytes:
    """The manifest. Raises `FormatError` (format.manifest), `UnavailableError` (unavailable.launcher)."""
    try:
        text = template.read_text()
    except OSError as cause:
        raise UnavailableError("unavailable.launcher", expected=f"readable {template}", seen=cause) from cause
    listed = sorted(files, key=lambda file: file.place)
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)  # noqa: S701 - TOML
    rendered = jinja.from_string(text).render(files=listed).encode()
    parse_manifest(rendered)
    return rendered
