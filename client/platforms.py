"""Which machines this party accepts, of a key broker or a query enclave: whatever code they run (side: owner).

Two things are held against every quote that is verified here: the newest signed inventory of machines that this party
has seen, and TCB terms of its own, if it has pinned any; beside them the terms over the data that it is about. An
inventory comes with the broker's quote, or as a file from those who signed it (client/inventory). It speaks for itself,
so it is remembered whatever becomes of the quote; whoever shows an older one later is refused.
"""

from dataclasses import replace

from client.broker_quote import RulesOf
from client.context import Party
from common.dcap import PlatformRules
from common.enclave.trust_settings import TrustSettings
from common.identifiers import DatasetId
from common.messages.policy import DataPolicy
from common.messages.signed import Signed
from common.messages.tcb_terms import TcbTerms
from common.platform_inventory import kept_inventory, shown_inventory


def platform_rules(party: Party, trust: TrustSettings, *terms: TcbTerms) -> PlatformRules:
    """What this party holds machines against: `terms` beside its own. `trust` names the keys that sign inventories."""
    own = party.tcb_terms
    return PlatformRules(kept_inventory(party.inventory, trust), (*(() if own is None else (own,)), *terms))


def rules_shown(party: Party, trust: TrustSettings, *terms: TcbTerms) -> RulesOf:
    """The same, once a broker has shown an inventory, which is remembered.

    Raises `FreshnessError` (freshness.inventory) for an older one than this party has seen, and for none.
    """

    def rules(shown: Signed | None) -> PlatformRules:
        known = platform_rules(party, trust, *terms)
        newest = shown_inventory(shown, known.inventory, trust)
        if shown is not None:
            party.keep_inventory(shown)
        return replace(known, inventory=newest)

    return rules


def terms_over(party: Party, *datasets: DatasetId) -> tuple[TcbTerms, ...]:
    """The TCB terms of the newest policies that were signed here, of those of the data sets that are this party's."""
    policies = (party.document("policies", dataset_id) for dataset_id in datasets)
    return tuple(DataPolicy.decode(policy.payload).tcb for policy in policies if policy is not None)
