"""A launch that has its challenge, and may do everything wrong from there (side: library)."""

from typing import Any

from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.identifiers import JobId, RoleName
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge
from common.messages.launch_binding import LaunchBinding
from tests.fakes.broker_world import TRAINER, BrokerWorld, TestRuntime


class HalfLaunch:
    """Of a role and slot; `binding` is the right one."""

    def __init__(self, world: BrokerWorld, job_id: JobId, role: RoleName = TRAINER, slot: int = 0) -> None:
        self._world = world
        self.wrapping, self.signing = WrappingKey.generate(), SigningKey.generate()
        self.challenge = world.channel().ask(IssueChallenge(role=role, job_id=job_id, slot=slot), Challenge)
        self.binding = LaunchBinding(
            nonce=self.challenge.nonce, broker=self.challenge.broker, role=role, subject=self.challenge.subject,
            slot=slot, attempt=self.challenge.attempt, wrapping_public=self.wrapping.public,
            signing_public=self.signing.party,
        )  # fmt: skip

    def body(self, *, quoted: LaunchBinding | None = None, runtime: TestRuntime | None = None, **changes: Any) -> Admit:
        """A binding that `changes` differ in; the quote is over `quoted`, or over that."""
        binding = self.binding.model_copy(update=changes)
        runtime = runtime or self._world.runtime(binding.role)
        evidence = runtime.evidence((quoted or binding).report_data())
        return Admit(challenge_id=self.challenge.challenge_id, binding=binding, evidence=evidence)

    def admit(self, **wrong: Any) -> Admission:
        """Ask for admission with `body(**wrong)`."""
        return self._world.channel().ask(self.body(**wrong), Admission)
