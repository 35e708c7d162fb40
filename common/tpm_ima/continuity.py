"""One quote after another of the same host: it never went down in between (side: verifier).

Source: TPM 2.0 Library Specification, Part 1, "Clock" and "Reset Count"; Part 2, TPMS_CLOCK_INFO. A start of the
machine counts `reset_count` up, a resume from sleep `restart_count`. Register 10 begins anew with a reset, so a host
that ran something else can't hide it behind one unless it is refused here.
"""

from common.errors import FreshnessError
from common.tpm_ima.claims import HostMoment


def require_continuous(now: HostMoment, before: HostMoment) -> None:
    """Raise `FreshnessError` (freshness.host) unless `now` is later in the same boot of the same TPM as `before`.

    (1) the same attestation key; (2) neither reset nor resumed, and the same firmware; (3) the clock went on.
    """
    if now.attestation_key != before.attestation_key:  # (1)
        raise FreshnessError("freshness.host", expected="the attestation key of before", seen="another")
    boot = (now.reset_count, now.restart_count, now.firmware_version)
    known = (before.reset_count, before.restart_count, before.firmware_version)
    if boot != known:  # (2)
        expected = "resets {}, restarts {}, firmware {:#x}"
        raise FreshnessError("freshness.host", expected=expected.format(*known), seen=expected.format(*boot))
    if now.clock <= before.clock:  # (3)
        raise FreshnessError("freshness.host", expected=f"a clock after {before.clock} ms", seen=f"{now.clock} ms")
