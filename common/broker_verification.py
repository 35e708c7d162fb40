"""Is this the key broker that the release names? Checked before any key is wrapped to it (side: verifier).

Pure: reply bytes, request bytes, pins and a time in; the verified broker out, or an exception. In this order:

  (1) the reply is signed by the key that its genesis record names, and answers this request;
  (2) the quote is authentic under an allowed root;
  (3) its trust level is not below the floor;
  (4) the inventory of machines that it shows is the one that the caller knows, or a newer one, signed by the release
      keys (`common/platform_inventory`);
  (5) its measurement is the release's for the role `broker`, debug bit clear; its machine is not revoked by that
      inventory, and meets the terms of release and caller (`common/dcap/appraisal`);
  (6) all 64 bytes of its report data bind the request's nonce, this genesis, its two keys and the log's epoch. After a
      handover (services/attestation/handover) the wrapping key is another than the genesis': the quoted one counts; and
      they bind the machines that it was handed over from;
  (7) none of these is revoked, or denied by terms of the release or the caller.

What the caller must still do: compare the genesis with the one that it has pinned, log head and collateral with the
newest that it has seen (`common/broker_channel.require_not_older`, `common/dcap/collateral_memory`), and remember the
inventory, if it keeps anything.
"""

from dataclasses import dataclass, replace
from typing import Final

from common.broker_channel import open_reply
from common.dcap import PlatformRules, QuoteClaims, appraise, require_report_data, require_trust_level, verify_quote
from common.dcap.completion import complete_evidence
from common.dcap.platform_rules import require_acceptable
from common.enclave.trust_settings import TrustSettings
from common.errors import FormatError, refusal_of
from common.identifiers import RoleName
from common.messages.broker_exchange import BrokerReply
from common.messages.broker_identity import BrokerDescription, Genesis, Succession, current_wrapping_key
from common.messages.evidence import Collateral, TrustLevel
from common.messages.launch_binding import NO_SUBJECT, LaunchBinding
from common.messages.log_heads import LogHead
from common.messages.refusal_detail import Refused
from common.messages.release import Release
from common.messages.signed import Signed
from common.platform_inventory import shown_inventory

BROKER_ROLE: Final = RoleName("broker")


@dataclass(frozen=True)
class VerifiedBroker:
    """A broker that passed all checks, as of this reply."""

    description: BrokerDescription
    claims: QuoteClaims
    head: LogHead
    time: int
    collateral: Collateral

    @property
    def genesis(self) -> Genesis:
        """The record that owners pin."""
        return self.description.genesis

    @property
    def wrapping_public(self) -> bytes:
        """What keys are to be wrapped to."""
        return self.description.wrapping_public


def broker_binding(genesis: Genesis, nonce: bytes, epoch: int, succession: Succession | None = None) -> LaunchBinding:
    """What the broker's own quote binds: its attempt is the log's epoch, its subject none, or how it came here."""
    return LaunchBinding(
        nonce=nonce,
        broker=genesis.digest,
        role=BROKER_ROLE,
        subject=NO_SUBJECT if succession is None else succession.digest,
        slot=0,
        attempt=epoch,
        wrapping_public=current_wrapping_key(genesis, succession),
        signing_public=genesis.signing_public,
    )


def unverified_description(raw: bytes) -> BrokerDescription:
    """What came back for a DescribeBroker request. Raises `FormatError`, or the refusal with which it was answered."""
    unverified = BrokerReply.decode(Signed.decode(raw).payload).body
    if isinstance(unverified, Refused):
        raise refusal_of(unverified.code)
    if not isinstance(unverified, BrokerDescription):
        raise FormatError("format.message", expected="broker-description", seen=unverified.type)
    return unverified


def verify_broker(
    raw: bytes,
    request: bytes,
    trust: TrustSettings,
    release: Release,
    rules: PlatformRules,
    now: int,
    *,
    floor: TrustLevel = TrustLevel.SIMULATION,
    collateral: Collateral | None = None,
) -> VerifiedBroker:
    """Make all seven checks. `request` are the bytes of the DescribeBroker request; `raw` what came back.

    `rules`: what the caller knows and demands of machines. `collateral` is for a quote that carries none.

    Raises `AuthenticityError` (1, 2, 4), `AppraisalError` (2, 3, 5, 6, 7), `FreshnessError` (2, 4), `FormatError` or
    the refusal with which the broker answered.
    """
    unverified = unverified_description(raw)
    reply = open_reply(raw, request, unverified.genesis.signing_public)  # (1)
    evidence = complete_evidence(unverified.evidence, collateral)
    claims = verify_quote(evidence, trust.allowed_roots, now)  # (2)
    require_trust_level(claims.trust_level, floor)  # (3)
    rules = replace(rules, inventory=shown_inventory(unverified.inventory, rules.inventory, trust))  # (4)
    reference = release.reference(BROKER_ROLE, claims.trust_level)
    appraise(claims, reference, rules, now)  # (5)
    succession = unverified.succession
    binding = broker_binding(unverified.genesis, reply.nonce, reply.head.epoch, succession)
    require_report_data(claims, binding.report_data())  # (6)
    machines = frozenset(() if succession is None else succession.machines)
    require_acceptable(machines, replace(rules, terms=(reference.tcb, *rules.terms)))  # (7)
    return VerifiedBroker(unverified, claims, reply.head, reply.time, evidence.collateral)
