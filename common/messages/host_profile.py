"""What a measured host may run: a profile, signed by who answers for the host (side: library).

The files stand in a text of their own (common/tpm_ima/allowed_files), which the profile names by its digest: a host has
tens of thousands. Paths are those that Linux measures.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import Digest, Identifier
from common.messages.base import Count, Message, Seconds

_PART = r"[A-Za-z0-9._+@:,~=-]+"
_STARRED = r"[A-Za-z0-9._+@:,~=*-]+"


class ProfileName(Identifier):
    """What a policy calls a profile by."""

    __slots__ = ()
    pattern = r"[a-z][a-z0-9-]{0,62}"


class PathPattern(Identifier):
    """Paths that are left out: all below a directory (`/var/log/app/`), or files by name in one (`/var/log/*.log`).

    At least two levels below the root; a `*` stands for one or more characters of the last part, never for a `/`.
    Paths come from the host, so no path makes matching slow: what stands between two `*` is looked for from left to
    right and stays where it is found first (atomic groups), which misses no match and is tried once.
    """

    __slots__ = ()
    pattern = rf"(?:(?:/{_PART}){{2,16}}/|(?:/{_PART}){{1,16}}/{_STARRED})"

    @property
    def expression(self) -> str:
        """As a regular expression for the whole path."""
        first, *between = map(re.escape, self.split("*"))
        last = f"[^/]+{between.pop()}" if between else ""
        quoted = first + "".join(f"(?>[^/]+?{one})" for one in between) + last
        return f"{quoted}.+" if self.endswith("/") else quoted


BOOT_REGISTER_NAMES: Final = tuple(map(str, (*range(10), 14)))
_Patterns = Annotated[tuple[PathPattern, ...], Field(max_length=64)]
_Values = Annotated[tuple[Digest, ...], Field(min_length=1, max_length=32)]


class HostProfile(Message):
    """A later `number` takes the place of an earlier one.

    `files`: SHA-256 of the allowed files' text. `exclusions`: paths of which any content may run. `violations`: whether
    files may be written while they run; all of them or none, for which one it was is shown by nothing that the TPM
    signs. `signing_keys`: SHA-256 of SubjectPublicKeyInfo; what they signed may run (ima-sig). `boot_registers`: the
    values that each register of the boot may have. `boot_log`: whether a host must show the log that explains these.
    """

    type: Literal["host-profile"] = "host-profile"
    version: Literal[1] = 1
    name: ProfileName
    number: Count
    files: Digest
    exclusions: _Patterns = ()
    violations: Literal["none", "any"] = "none"
    signing_keys: Annotated[tuple[Digest, ...], Field(max_length=32)] = ()
    boot_registers: dict[Annotated[str, Field(max_length=2)], _Values]
    boot_log: Literal["required", "none"] = "required"
    created: Seconds

    @model_validator(mode="after")
    def _strict(self) -> Self:
        if set(self.boot_registers) != set(BOOT_REGISTER_NAMES):
            raise ValueError(f"boot_registers are exactly {BOOT_REGISTER_NAMES}")
        if not all(map(_is_narrow, self.exclusions)):
            raise ValueError("a pattern names what it leaves out, without . or .. and not by * alone")
        return self


def _is_narrow(pattern: str) -> bool:
    *directories, last = pattern.split("/")
    return not {".", ".."} & {*directories, last} and (last == "" or bool(last.strip("*.")))
