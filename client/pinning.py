"""Pinning: what a party will trust, shown by fingerprint before it is stored (side: owner).

The order of the checks, each raises:
  (1) the release is signed by enough of the release keys that the trust settings name;
  (2) floor: the roots are Intel's alone, unless this identity was made with `--unsafe-simulation`;
  (3) with measurements of one's own build: the release states exactly those, for every role and on every platform;
  (4) the broker's fresh quote verifies under those roots and appraises against that release; its machine meets the TCB
      terms that are pinned with it, or were before, and no inventory that is known here or that it shows revokes it;
  (5) the fingerprint over all of it is the expected one, if one is given.
Who signs releases, and which root a simulated platform has, cannot be computed: that is what the fingerprint is for,
compared once over another channel. Without (3) and (5) nothing is stored, only shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from client.broker import describe_broker, trust_floor
from client.context import Endpoints, Party, PinnedTrust
from client.events import Event, Noted, Pinned, QuoteVerified, RoleMeasured
from client.identity import bind_if_awake
from client.measuring import states
from client.platforms import platform_rules
from client.services import AttestationService, IngestService
from common.broker_channel import require_not_older
from common.dcap.roots import INTEL_ROOT_KEY_SHA256
from common.enclave.trust_settings import TrustSettings, require_release
from common.errors import AppraisalError
from common.identifiers import Digest, RoleName
from common.messages.evidence import TrustLevel
from common.messages.reference_values import TdxReferenceValue
from common.messages.release import Release
from common.messages.tcb_terms import TcbTerms

NO_DOMAINS: Final[Mapping[str, TdxReferenceValue]] = MappingProxyType({})
"""No role runs in a trust domain."""


def pin(
    party: Party,
    endpoints: Endpoints,
    trust_settings: TrustSettings,
    *,
    expect: Digest | None = None,
    measured: tuple[RoleMeasured, ...] | None = None,
    domains: Mapping[str, TdxReferenceValue] = NO_DOMAINS,
    tcb: TcbTerms | None = None,
) -> Iterator[Event]:
    """Fetch release and broker, check them (1 to 5), store them, make this identity known. Ends with `Pinned`.

    `tcb`: this party's own terms over machines of brokers and query enclaves, instead of those that it holds.

    Raises `AppraisalError` and whatever quote verification raises.
    """
    signed = AttestationService(endpoints).release()
    release = require_release(signed, trust_settings)  # (1)
    require_floor(party, trust_settings)  # (2)
    if measured is not None:
        require_own_measurements(release, measured, domains)  # (3)
    known = platform_rules(party, trust_settings)
    rules = known if tcb is None else replace(known, terms=(tcb,))
    broker = describe_broker(endpoints, trust_settings, release, lambda _: rules, trust_floor(party))  # (4)
    claims = broker.claims
    yield QuoteVerified(role="broker", measurement=claims.measurement, trust_level=claims.trust_level)
    trust = PinnedTrust(endpoints=endpoints, trust_settings=trust_settings, release=signed, broker=broker.genesis)
    if expect is not None and trust.fingerprint != expect:  # (5)
        raise AppraisalError("appraisal.pin", expected=expect, seen=trust.fingerprint)
    stored = expect is not None or measured is not None
    if stored:
        party.pin(trust)
        if tcb is not None:
            party.keep_tcb_terms(tcb)
        if broker.description.inventory is not None:
            party.keep_inventory(broker.description.inventory)
        party.remember_collateral(broker.collateral)
        require_not_older(broker.head, party.log_head)
        party.remember_head(broker.head)
        party.remember_broker_key(broker.wrapping_public)
        IngestService(endpoints, party).enrol()
        yield from bind_if_awake(party)
    if not broker.genesis.witness_quorum:
        yield Noted(
            text="This broker has no witness: revocations, budgets and single-use orders hold only until it restarts.",
            warning=True,
        )
    succession = broker.description.succession
    if succession is not None:
        yield Noted(
            text=f"This broker took over from one that measured {succession.predecessor} (`cloister audit show`)."
        )
    yield _pinned(trust, release, claims.trust_level, stored=stored)


def require_floor(party: Party, trust_settings: TrustSettings) -> None:
    """The client's floor is real hardware. Raises `AppraisalError` (appraisal.floor)."""
    foreign = [
        root.root_key_sha256 for root in trust_settings.allowed_roots if root.root_key_sha256 != INTEL_ROOT_KEY_SHA256
    ]
    if foreign and not party.identity.unsafe_simulation:
        raise AppraisalError("appraisal.floor", expected="Intel's root alone", seen=f"simulated roots {foreign}")


def require_own_measurements(
    release: Release, measured: tuple[RoleMeasured, ...], domains: Mapping[str, TdxReferenceValue] = NO_DOMAINS
) -> None:
    """The release names what one's own build measures, by role and platform, and nothing else.

    Of `domains`, by role, all that is measured must be so: MRTD alone, the firmware's, vouches for no kernel.

    A platform that this build cannot measure is something else: whoever signed the release may have put it there.
    Raises `AppraisalError` (appraisal.own_build).
    """
    own = {f"{one.role} on {one.platform}": str(one.mr_enclave) for one in measured}
    stated = {
        f"{role} on {platform}": reference.code
        for role, platforms in release.measurements.items()
        for platform, reference in platforms.items()
    }
    for role, value in domains.items():
        agrees = states(release.measurements.get(RoleName(role), {}).get(TrustLevel.TDX), value)
        own[f"{role} on {TrustLevel.TDX}"] = value.code if agrees else "another domain"
    if own != stated:
        wrong = sorted(role for role in own.keys() | stated.keys() if own.get(role) != stated.get(role))
        raise AppraisalError(
            "appraisal.own_build",
            expected={role: own.get(role) for role in wrong},
            seen={role: stated.get(role) for role in wrong},
        )


def _pinned(trust: PinnedTrust, release: Release, trust_level: str, *, stored: bool) -> Pinned:
    settings = trust.trust_settings
    return Pinned(
        fingerprint=trust.fingerprint,
        release=trust.release.digest,
        release_name=f"{release.name} {release.tag}",
        release_keys=settings.release_keys,
        roots=tuple(root.root_key_sha256 for root in settings.allowed_roots),
        broker=trust.broker.digest,
        broker_key=trust.broker.signing_public,
        witnesses=trust.broker.witnesses,
        witness_quorum=trust.broker.witness_quorum,
        tpm_counters=trust.broker.tpm_counters,
        trust_level=trust_level,
        stored=stored,
    )
