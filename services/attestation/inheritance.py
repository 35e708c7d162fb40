"""An enclave without a state becomes the heir of a broker of another build (side: enclave).

Whoever could pass a state of his own making off as a broker's would know that broker's signing key. So what is given is
taken only after these checks, in this order; each raises:

  (1) as many release keys as a release needs, of those that *this* enclave is measured with, have signed the giver's
      release;
  (2) the giver's quote is authentic, its platform as strong as this one;
  (3) it is the `broker` of that release, not in debug;
  (4) it binds this very package, for the key that was born here;
  (5) the package opens with that key, and holds the state of the broker that the quote names.

The key is born at the first question and sealed to this build: an heir that is killed goes on with it. What (1) to (5)
do not say is whether the state is the newest: that is the witnesses' (`state_anchor`), so the heir begins frozen.
"""

from typing import Final

from common.crypto.wrapping import WrappingKey
from common.dcap import appraise, require_report_data, require_trust_level, verify_quote
from common.dcap.completion import complete_evidence
from common.enclave.trust_settings import require_release
from common.errors import AuthenticityError
from common.messages.handover import AskHandover, HeirAsked, TakeHandover
from services.attestation.context import SEALING_LABEL, BrokerContext, Platform, WitnessRule
from services.attestation.handover_package import unpack
from services.attestation.state import StateKeys, StateStore

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

    Raises `AppraisalError` (1 to 4), `AuthenticityError` (2, 5), `FreshnessError` or `FormatError` (2).
    """
    settings, given = platform.trust_settings, body.given
    keys = StateKeys(platform.sealing_key(SEALING_LABEL))
    heir = WrappingKey(keys.open_seed(_HEIR_KEY, body.sealed_key))
    release = require_release(body.release, settings)  # (1)
    claims = verify_quote(complete_evidence(given.evidence, body.collateral), settings.allowed_roots, at)  # (2)
    require_trust_level(claims.trust_level, platform.trust_level)
    appraise(claims, release.reference(_BROKER, claims.trust_level), at)  # (3)
    require_report_data(claims, given.package.giver_binding(heir.public).report_data())  # (4)
    return BrokerContext.resume(platform, store, keys, unpack(given.package, package, heir, keys), rule, at)  # (5)


def _key_of(keys: StateKeys, sealed: bytes | None) -> tuple[WrappingKey, bytes]:
    if sealed is not None:
        try:
            return WrappingKey(keys.open_seed(_HEIR_KEY, sealed)), sealed
        except AuthenticityError:
            pass  # another build's
    fresh = WrappingKey.generate()
    return fresh, keys.seal_seed(_HEIR_KEY, fresh.seed_for_sealing())
