"""Which files make up each enclave of a release: published beside it, checked against it by anybody (side: library).

It needs no signature and no digest in the release: a measurement is a hash over exactly this, so a list either gives
the measurement that the release states or is wrong (common/enclave/file_lists).
"""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import Digest, RoleName
from common.messages.base import Message

_ModuleName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$", max_length=200)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$")]


class MeasuredRole(Message):
    """One enclave: the module that it begins with, and every file of its snapshot with its SHA-256."""

    entry: _ModuleName
    files: Annotated[dict[FileName, Digest], Field(min_length=1, max_length=4096)]


class MeasuredFiles(Message):
    """All enclaves of a release, as they are measured on the simulated platform.

    `environment` is the digest over interpreter, standard library and third-party packages, which all of them share
    (common/enclave/environment).
    """

    type: Literal["measured-files"] = "measured-files"
    version: Literal[1] = 1
    environment: Digest
    roles: Annotated[dict[RoleName, MeasuredRole], Field(min_length=1, max_length=64)]
