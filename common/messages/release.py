"""A release: which enclaves belong together, by role and platform; and its end (side: library).

Its signed bytes are what policies and orders name (by digest). It says what code is, never where it runs.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.errors import AppraisalError
from common.identifiers import Digest, RoleName
from common.messages.base import Message, Seconds
from common.messages.evidence import TrustLevel
from common.messages.reference_values import ReferenceValue
from common.messages.tcb_terms import TcbTerms

_BROKER = RoleName("broker")


class Release(Message):
    """Measurements of all roles. `tag` is the human version; `measurements` maps role -> platform -> reference value.

    The platform is the trust level that a verified quote gets: the same code measures otherwise under simulation than
    under SGX, and a simulated measurement must never pass for a real one.
    """

    type: Literal["release"] = "release"
    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    tag: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9.+-]{0,62}$")]
    created: Seconds
    measurements: Annotated[dict[RoleName, dict[TrustLevel, ReferenceValue]], Field(min_length=1, max_length=64)]

    def reference(self, role: str, trust_level: TrustLevel) -> ReferenceValue:
        """What an enclave of this role must be on this platform. Raises `AppraisalError` (appraisal.release)."""
        try:
            return self.measurements[RoleName(role)][trust_level]
        except KeyError:
            raise AppraisalError(
                "appraisal.release", expected=f"a release with {role} on {trust_level}", seen=f"{self.name} {self.tag}"
            ) from None

    def terms_of(self, role: str) -> tuple[TcbTerms, ...]:
        """The TCB terms over a role's platforms; none over the key broker's, on which nothing may ever lie open."""
        references = self.measurements.get(RoleName(role), {})
        return () if role == _BROKER else tuple(reference.tcb for reference in references.values())


class ReleaseRevocation(Message):
    """The release keys end a release for good, at every broker that is measured with them.

    Signed by as many of them as a release needs. `successor` is the release to move to, if there is one already: a hint
    for people, since each owner's next policy version says what that owner takes instead.
    """

    type: Literal["release-revocation"] = "release-revocation"
    version: Literal[1] = 1
    release: Digest
    successor: Digest | None = None
    created: Seconds
