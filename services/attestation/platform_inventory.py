"""Which machines are known here, and which are over: the release keys' word for everybody (side: enclave).

One extracted PCK signs what it likes, for every role. So a machine is revoked for a whole installation in one step, and
owners may accept listed machines alone. What may take the place of the inventory in force: `common/platform_inventory`.

From then on no launch of a revoked machine is admitted, none renews its lease, and nothing is handed over to or from
it, whatever parties' terms say. A broker that runs on one itself, or was handed over from one, takes and gives no keys,
as far as its host lets it know where it runs (docs/attestation.md).
Everybody who verifies this broker is shown the inventory with its quote.
"""

from common.messages.decision_log import LogSubjects
from common.messages.platform_inventory import InventoryTaken, TakeInventory
from common.messages.signed import Signed
from common.platform_inventory import newer_inventory
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.lease_table import LEASE_SECONDS
from services.attestation.records import InventoryRecord


def take_inventory(broker: BrokerContext, body: TakeInventory, at: int) -> InventoryTaken:
    """Take a newer one. Raises `AuthenticityError`, `FormatError` or `FreshnessError` (freshness.inventory)."""
    known = broker.inventory
    new = newer_inventory(body.inventory, known, broker.platform.trust_settings)
    if new != known:
        decision = Decision("take-inventory", _subjects(broker, body.inventory))
        broker.state.commit(decision, at, InventoryRecord(document=body.inventory))
    return InventoryTaken(number=new.number, leases_end=at + LEASE_SECONDS)


def _subjects(broker: BrokerContext, inventory: Signed) -> LogSubjects:
    keys = set(broker.platform.trust_settings.release_keys)
    signers = tuple(sorted({one.signer for one in inventory.signatures} & keys))
    return LogSubjects(parties=signers, signers=signers, document=inventory.digest)
