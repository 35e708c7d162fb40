"""Which machines are known here, and which are over: the release keys' word for everybody (side: enclave).

One extracted PCK signs what it likes, for every role. So a machine is revoked for a whole installation in one step, and
owners may accept listed machines alone. A new inventory is taken in this order; each raises:

  (1) as many of the release keys that this broker is measured with as a release needs have signed it;
  (2) it is newer than the one in force, by number; the very same one again changes nothing;
  (3) what was revoked stays so.

From then on no launch of a revoked machine is admitted, and none renews its lease, whatever parties' terms say.
"""

from common.dcap.claims import PlatformClaims
from common.enclave.trust_settings import require_platform_inventory
from common.errors import AppraisalError, FreshnessError
from common.messages.attestation import InventoryTaken, TakeInventory
from common.messages.decision_log import LogSubjects
from common.messages.platform_inventory import PlatformInventory
from common.messages.signed import Signed, read_document
from common.messages.tcb_terms import TcbTerms
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.lease_table import LEASE_SECONDS
from services.attestation.records import INVENTORY_KEY, InventoryRecord


def take_inventory(broker: BrokerContext, body: TakeInventory, at: int) -> InventoryTaken:
    """Checks (1) to (3). Raises `AuthenticityError`, `FormatError` (1) or `FreshnessError` (freshness.inventory)."""
    new = require_platform_inventory(body.inventory, broker.platform.trust_settings)  # (1)
    record = broker.state.find(InventoryRecord, INVENTORY_KEY)
    if record is None or record.document.digest != body.inventory.digest:
        if record is not None:
            _require_newer(new, read_document(record.document, PlatformInventory))
        decision = Decision("take-inventory", _subjects(broker, body.inventory))
        broker.state.commit(decision, at, InventoryRecord(document=body.inventory))
    return InventoryTaken(number=new.number, leases_end=at + LEASE_SECONDS)


def require_unrevoked_platform(broker: BrokerContext, machine: PlatformClaims) -> None:
    """Raise `AppraisalError` (appraisal.platform_revoked) for a machine that the inventory in force has revoked."""
    seen = sorted(set(machine.platform_ids) & set(_in_force(broker).revoked))
    if seen:
        raise AppraisalError("appraisal.platform_revoked", expected="a machine that is not revoked", seen=seen)


def require_known_platform(broker: BrokerContext, machine: PlatformClaims, terms: TcbTerms) -> None:
    """Raise `AppraisalError` (appraisal.platform) where terms want a listed machine and this one is not."""
    if terms.inventory and not set(machine.platform_ids) & set(_in_force(broker).platforms):
        seen = sorted(machine.platform_ids)
        raise AppraisalError("appraisal.platform", expected="a platform of the installation's inventory", seen=seen)


def _in_force(broker: BrokerContext) -> PlatformInventory:
    record = broker.state.find(InventoryRecord, INVENTORY_KEY)
    if record is None:
        return PlatformInventory(number=0, platforms=(), revoked=(), created=0)
    return read_document(record.document, PlatformInventory)


def _require_newer(new: PlatformInventory, old: PlatformInventory) -> None:
    if new.number <= old.number:  # (2)
        raise FreshnessError("freshness.inventory", expected=f"a number above {old.number}", seen=new.number)
    revived = sorted(set(old.revoked) - set(new.revoked))
    if revived:  # (3)
        raise FreshnessError("freshness.inventory", expected="all that was revoked before", seen=f"without {revived}")


def _subjects(broker: BrokerContext, inventory: Signed) -> LogSubjects:
    keys = set(broker.platform.trust_settings.release_keys)
    signers = tuple(sorted({one.signer for one in inventory.signatures} & keys))
    return LogSubjects(parties=signers, signers=signers, document=inventory.digest)
