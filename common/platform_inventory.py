"""Which inventory of machines counts: the newest that somebody has seen (side: verifier).

The broker keeps it in its sealed state, a party in its directory, a witness in its memory. Each takes another by the
same rules; in this order, each raises:

  (1) as many of the release keys that are trusted here as a release needs have signed it (`AuthenticityError`);
  (2) it is newer than the one that is known, by number (`FreshnessError`, freshness.inventory);
  (3) what was revoked stays so (likewise).

The very same one again changes nothing. Against which machines it speaks is judged in `common/dcap/platform_rules`.
"""

import contextlib

from common.enclave.trust_settings import TrustSettings, require_platform_inventory
from common.errors import AuthenticityError, FreshnessError
from common.messages.platform_inventory import NO_INVENTORY, PlatformInventory
from common.messages.signed import Signed


def newer_inventory(document: Signed, known: PlatformInventory, trust: TrustSettings) -> PlatformInventory:
    """The inventory in `document`, if it is `known` or takes its place. Raises checks (1) to (3), or `FormatError`."""
    new = require_platform_inventory(document, trust)  # (1)
    if new == known:
        return known
    if new.number <= known.number:  # (2)
        raise FreshnessError("freshness.inventory", expected=f"a number above {known.number}", seen=new.number)
    revived = sorted(set(known.revoked) - set(new.revoked))
    if revived:  # (3)
        raise FreshnessError("freshness.inventory", expected="all that was revoked before", seen=f"without {revived}")
    return new


def shown_inventory(shown: Signed | None, known: PlatformInventory, trust: TrustSettings) -> PlatformInventory:
    """What counts for whom a broker shows this, or that it has none. Raises as `newer_inventory` does.

    One that shows less than is known here was rewound, or nobody has brought it what is known: by what it does not know
    it would hand out keys.
    """
    if shown is not None:
        return newer_inventory(shown, known, trust)
    if known != NO_INVENTORY:
        raise FreshnessError("freshness.inventory", expected=f"inventory {known.number} or a later one", seen="none")
    return known


def kept_inventory(document: Signed | None, trust: TrustSettings) -> PlatformInventory:
    """The inventory in a document that was kept; none, if these release keys have not signed it."""
    if document is not None:
        with contextlib.suppress(AuthenticityError):
            return require_platform_inventory(document, trust)
    return NO_INVENTORY
