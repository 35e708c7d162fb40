"""A broker whose machine is gone, another machine of the same maker, holders and witnesses (side: library).

Everything is real but the process boundary and HTTP; what a hostile host would bring instead, a test changes in the
request that `request` makes as an honest host does.
"""

import secrets
import shutil
from pathlib import Path
from typing import Any

from client.witnessing import Witness
from common.crypto.key_file import Identity
from common.crypto.secret_sharing import SecretShare
from common.key_binding import given_share_info, held_share_info
from common.messages.recovery import RecoverDataset, Recovered
from common.messages.recovery_package import GivenShare, RecoveryPackage, Retirement
from common.messages.recovery_terms import RecoveryHolder, RecoveryTerms
from common.messages.signed import Signed, sign
from services.attestation.context import WitnessRule
from services.attestation.log_store import LogStore
from tests.fakes.broker_world import BrokerWorld, MemoryStore, Party, SealedData
from tests.fakes.watched_broker import Served


def terms_of(holders: list[Party], needed: int = 2, **changes: Any) -> RecoveryTerms:
    """What a policy says of these holders."""
    named = tuple(RecoveryHolder(party=one.party, wrapping_public=one.report_key) for one in holders)
    return RecoveryTerms(holders=named, needed=needed, **changes)


class RecoveryWorld:
    """`old` is guarded by one witness, its data set's policy names three holders, of whom two are needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.witness_identity = Identity.generate("witness", unsafe_simulation=True)
        self.rule = WitnessRule((self.witness_identity.signing_key.party,), 1)
        self.holders = [Party() for _ in range(3)]
        self.old = BrokerWorld(directory / "old")
        self.old.rule = self.rule
        self.old.restart(MemoryStore())
        self.witness = self.witness_of(self.old, "witness.json")
        self.witness.round()
        self.data = self.old.register_data(recovery=terms_of(self.holders))
        self.witness.round()

    def witness_of(self, world: BrokerWorld, memory: str) -> Witness:
        """The witness, as it guards this broker."""
        file, identity = self.directory / memory, self.witness_identity
        service = Served(world, identity.signing_key)
        return Witness(identity, world.trust, service, file, lambda: world.time, lambda _: None)

    def new_machine(
        self, name: str = "new", rule: WitnessRule | None = None, *, thawed: bool = True, later: int = 60
    ) -> BrokerWorld:
        """A broker of the same release on another machine: another sealing secret under the same maker's root."""
        shutil.copytree(self.old.platform.directory, self.directory / name / "platform")
        (self.directory / name / "platform" / "sealing.secret").write_bytes(secrets.token_bytes(32))
        new = BrokerWorld(self.directory / name)
        new.trust, new.release, new.release_keys = self.old.trust, self.old.release, self.old.release_keys
        new.rule = self.rule if rule is None else rule
        new.owner, new.provider, new.user = self.old.owner, self.old.provider, self.old.user
        new.time = self.old.time + later
        new.restart(MemoryStore())
        if thawed and new.rule.quorum:
            self.witness_of(new, f"witness-{name}.json").round()
        return new

    def package(self, store: MemoryStore | None = None, data: SealedData | None = None) -> Signed:
        """The recovery package that the host keeps."""
        return Signed.decode((store or self.old.store).packages[(data or self.data).dataset_id])

    def share(self, holder: Party, new: BrokerWorld, package: Signed | None = None, **changes: Any) -> Signed:
        """What an honest holder gives to `new`, as `client/recovery` makes it; `changes` of what it signs."""
        document = package or self.package()
        made, described = RecoveryPackage.decode(document.payload), new.describe()
        [held] = [one for one in made.shares if one.holder == holder.party]
        info = held_share_info(
            made.broker.digest, made.dataset_id, made.policy, made.policy_version, made.head.epoch, holder.party
        )
        share = SecretShare.unwrap(holder.identity.report_key, held.wrapped, info)
        return self.wrapped(share, holder, new, document, epoch=new.head.epoch, boot=described.boot_nonce, **changes)

    def wrapped(
        self, share: SecretShare, holder: Party, new: BrokerWorld, document: Signed, *, epoch: int, boot: bytes,
        **changes: Any,
    ) -> Signed:  # fmt: skip
        """Any share, given by a holder."""
        info = given_share_info(document.digest, new.genesis.digest, epoch, boot, holder.party)
        fields: dict[str, Any] = {
            "package": document.digest, "successor": new.genesis.digest, "epoch": epoch, "boot_nonce": boot,
            "holder": holder.party, "wrapped": share.wrap(new.wrapping_public, info),
        }  # fmt: skip
        return sign(GivenShare(**(fields | changes)), holder.key)

    def retirement(self, new: BrokerWorld) -> Signed:
        """The witness confirms the end of the old broker."""
        return self.witness.retire(Served(new))

    def request(
        self, new: BrokerWorld, shares: list[Signed] | None = None, package: Signed | None = None,
        retirement: Signed | None = None, store: MemoryStore | None = None,
    ) -> RecoverDataset:  # fmt: skip
        """What an honest host brings, with the shares of the first two holders unless others are given."""
        document, word = package or self.package(store), retirement or self.retirement(new)
        given = [self.share(one, new, document) for one in self.holders[:2]] if shares is None else shares
        return with_log(
            RecoverDataset(package=document, shares=tuple(given), retirements=(word,)), store or self.old.store
        )

    def recover(self, new: BrokerWorld, body: RecoverDataset | None = None) -> Recovered:
        """The data set comes to `new`, whose witness is there."""
        asked = body or self.request(new)
        if not new.rule.quorum:
            return new.channel().ask(asked, Recovered)
        with new.attended(self.witness_identity.signing_key):
            return new.channel().ask(asked, Recovered)


def with_log(body: RecoverDataset, store: MemoryStore) -> RecoverDataset:
    """The request with the log between package and witnessed head, as a host that has these entries lays it there."""
    made_at = RecoveryPackage.decode(body.package.payload).head.size
    known = Retirement.decode(body.retirements[0].payload).head.size
    path = LogStore(store).consistency(known, made_at).path if known < made_at else ()
    return body.model_copy(update={"later": tuple(store.entries[made_at:known]), "path": path})
