"""An enclave without a state becomes the heir of a broker of another build (side: enclave).

Whoever could pass a state of his own making off as a broker's would know that broker's signing key. So what is given is
taken only after these checks, in this order; each raises:

  (1) as many release keys as a release needs, of those that *this* enclave is measured with, have signed the giver's
      release;
  (2) the giver's quote is authentic, its platform as strong as this one;
  (3) it binds this very package, for the key that was born here;
  (4) the package opens with that key, and holds the state of the broker that the quote names; its inventory of
      machines, if there is one, is signed by the release keys;
  (5) the giver is the `broker` of that release, not in debug, on a machine that this inventory has not revoked, as are
      those that it was handed over from.

The key is born at the first question and sealed to this build: an heir that is killed goes on with it. What (1) to (5)
do not say is whether the state is the newest: that is the witnesses' (`state_anchor`), so the heir begins frozen. Nor
do they say whether its inventory is: a forged giver holds none that revokes its machine. So the heir writes down which
machine the giver was on, and its quotes say so (`Succession.machines`): parties who know of a newer inventory refuse
it, and so does the heir itself once it gets one.
"""

from dataclasses import replace
from typing import Final

from common.crypto.wrapping import WrappingKey
from common.dcap import PlatformRules, QuoteClaims, appraise, require_report_data, require_trust_level, verify_quote
from common.dcap.completion import complete_evidence
from common.dcap.platform_rules import machines_of, require_unrevoked
from common.enclave.trust_settings import TrustSettings, require_platform_inventory, require_release
from common.errors import AuthenticityError, FormatError
from common.identifiers import PlatformId
from common.messages.broker_identity import MAX_MACHINES, Succession
from common.messages.handover import AskHandover, HeirAsked, TakeHandover
from common.messages.platform_inventory import NO_INVENTORY, PlatformInventory
from services.attestation.context import SEALING_LABEL, BrokerContext, Platform, WitnessRule
from services.attestation.handover_package import unpack
from services.attestation.records import INVENTORY_KEY, InventoryRecord
from services.attestation.state import Restored, StateKeys, StateStore

_BROKER: Final = "broker"
_HEIR_KEY: Final = "heir"


def ask_for_handover(platform: Platform, body: AskHandover) -> HeirAsked:
    """Answer an offer. A sealed key of another build counts as none."""
    keys = StateKeys(platform.sealing_key(SEALING_LABEL))
    key, sealed = _key_of(keys, body.sealed_key)
    binding = body.offer.heir_binding(key.public)
    return HeirAsked(sealed_key=sealed, binding=binding, evidence=platform.evidence(binding.report_data()))


def take_handover(
    platform: Platform, body: TakeHandover, package: StateStore, store: StateStore, rule: WitnessRule, at: int
) -> BrokerContext:
    """Checks (1) to (5), then this enclave is the broker, in a new epoch. `package` holds what the giver had stored.

    Raises `AppraisalError` (1, 2, 3, 5), `AuthenticityError` (2, 4), `FreshnessError` (2) or `FormatError` (2, 4).
    """
    settings, given = platform.trust_settings, body.given
    keys = StateKeys(platform.sealing_key(SEALING_LABEL))
    heir = WrappingKey(keys.open_seed(_HEIR_KEY, body.sealed_key))
    release = require_release(body.release, settings)  # (1)
    claims = verify_quote(complete_evidence(given.evidence, body.collateral), settings.allowed_roots, at)  # (2)
    require_trust_level(claims.trust_level, platform.trust_level)  # (2)
    require_report_data(claims, given.package.giver_binding(heir.public).report_data())  # (3)
    restored = unpack(given.package, package, heir, keys)  # (4)
    inventory = _inventory(restored, settings)  # (4)
    appraise(claims, release.reference(_BROKER, claims.trust_level), PlatformRules(inventory), at)  # (5)
    machines = _machines(restored, claims)
    require_unrevoked(frozenset(machines), inventory)  # (5)
    return BrokerContext.resume(platform, store, keys, _naming(restored, machines), rule, at)


def _inventory(restored: Restored, settings: TrustSettings) -> PlatformInventory:
    record = restored.records.get(INVENTORY_KEY)
    if not isinstance(record, InventoryRecord):
        return NO_INVENTORY
    return require_platform_inventory(record.document, settings)


def _machines(restored: Restored, giver: QuoteClaims) -> tuple[PlatformId, ...]:
    """Those that the state was handed over from, the giver's among them.

    Raises `FormatError` (format.too_large) for more of them than are written down.
    """
    machines = tuple(dict.fromkeys((*_succession(restored).machines, *sorted(machines_of(giver.machine)))))
    if len(machines) > MAX_MACHINES:
        raise FormatError("format.too_large", expected=f"at most {MAX_MACHINES} names of machines", seen=len(machines))
    return machines


def _naming(restored: Restored, machines: tuple[PlatformId, ...]) -> Restored:
    succession = _succession(restored).model_copy(update={"machines": machines})
    return replace(restored, identity=restored.identity.model_copy(update={"succession": succession}))


def _succession(restored: Restored) -> Succession:
    if restored.identity.succession is None:
        raise AuthenticityError("authenticity.sealed_state", expected="a state that was handed over")
    return restored.identity.succession


def _key_of(keys: StateKeys, sealed: bytes | None) -> tuple[WrappingKey, bytes]:
    if sealed is not None:
        try:
            return WrappingKey(keys.open_seed(_HEIR_KEY, sealed)), sealed
        except AuthenticityError:
            pass  # another build's
    fresh = WrappingKey.generate()
    return fresh, keys.seal_seed(_HEIR_KEY, fresh.seed_for_sealing())
