"""The commands that a witnessing counter needs (side: host; Part 3 of the specification, each by name).

There is nothing to guard: whoever steps the counter beside us can only stop the broker.
"""

from typing import Final

from common.errors import UnavailableError
from common.tpm.layouts import COUNTER_BYTES, AttestationKey, EndorsementKey, counter_area, sized
from common.tpm.steps import NV_INCREMENT, NV_READ, READ_WHOLE, STIR_RANDOM
from common.tpm_host.commands import (
    AUDIT,
    CONTINUE,
    ENDORSEMENT,
    NULL_ALGORITHM,
    Attested,
    TpmCommands,
    TpmRefusedError,
    authorised,
    handle,
    password,
)
from common.tpm_host.device import TpmDevice

_NV_DEFINE, _GET_AUDIT_DIGEST, _NV_READ_PUBLIC = 0x12A, 0x14D, 0x169
_OWNER: Final = 0x40000001
_NO_SUCH_HANDLE: Final = 0x18B
_ALREADY_DEFINED: Final = 0x14C
"""TPM_RC_HANDLE for the first handle, TPM_RC_NV_DEFINED."""


class Tpm(TpmCommands):
    """One TPM with its two keys loaded and, once it is defined, one counter. Not for several threads at once."""

    def __init__(self, device: TpmDevice, index: int) -> None:
        super().__init__(device)
        self._index = index
        try:
            self._endorsement, area = self.create_primary(EndorsementKey.template(32))
            self.endorsement_key = EndorsementKey.parse(area)
            self._attestation, area = self.create_primary(AttestationKey.template(0))
            self.attestation_key = AttestationKey.parse(area)
        except BaseException:
            self.close()
            raise

    def define_counter(self) -> None:
        """Make the counter, and let it count once so that it can be read. Again after a crash in between: the same."""
        area = counter_area(self._index, written=False)
        try:
            self.run(_NV_DEFINE, handle(_OWNER), sized(b"") + sized(area), password())
        except TpmRefusedError as refused:
            if refused.response_code != _ALREADY_DEFINED:
                raise
        self.run(NV_INCREMENT, 2 * handle(self._index), b"", password())

    def counter(self) -> int | None:
        """The counter's value; None if there is none yet. Raises `UnavailableError` if something else is there."""
        try:
            area = self.run(_NV_READ_PUBLIC, handle(self._index)).first()
        except TpmRefusedError as refused:
            if refused.response_code == _NO_SUCH_HANDLE:
                return None
            raise
        if area == counter_area(self._index, written=False):
            return None
        if area != counter_area(self._index, written=True):
            raise UnavailableError("unavailable.tpm", expected=f"a counter of ours at {self._index:#x}", seen="another")
        return self._read_counter()

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What a credential for this TPM and its attestation key holds."""
        return self.activate_with(self._endorsement, self._attestation, credential, secret)

    def step(self, purpose: bytes) -> tuple[int, Attested]:
        """Step the counter (common/tpm/steps). Its value before, and the proof."""
        with self.session() as session:
            audit = authorised(session, CONTINUE | AUDIT)
            self.run(STIR_RANDOM, b"", sized(purpose), audit)
            value = self._read_counter(audit)
            self.run(NV_INCREMENT, 2 * handle(self._index), b"", password() + audit)
            self._read_counter(audit)
            answer = self.run(
                _GET_AUDIT_DIGEST,
                handle(ENDORSEMENT) + handle(self._attestation) + handle(session),
                sized(b"") + NULL_ALGORITHM.to_bytes(2, "big"),
                2 * password(),
            )
        attested = answer.first()
        return value, Attested(attested, answer.parameters[2 + len(attested) :])

    def _read_counter(self, audit: bytes = b"") -> int:
        answer = self.run(NV_READ, 2 * handle(self._index), READ_WHOLE, password() + audit)
        return int.from_bytes(answer.first()[:COUNTER_BYTES], "big")
