"""Older documents, genuine and rightly signed, shown to the key broker again, and by it to others (side: owner).

Orders, policies, terms, registrations, grants and inventories that were used up, replaced, revoked or are over, also
after a start.
"""

from pathlib import Path

from bench.rollback_tally import Tally
from client import context
from client.broker_quote import verified_broker
from client.platforms import rules_shown
from common.identifiers import GrantId, JobId, PlatformId
from common.messages.evidence import TrustLevel
from common.messages.order import TrainingOrder
from common.messages.platform_inventory import InventoryTaken, PlatformInventory, TakeInventory
from common.messages.registration import Registered
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import Signed, sign
from services.attestation.records import DatasetRecord, JobRecord
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld, MemoryStore, Party, SealedBundle, SealedData
from tests.fakes.log_keeping import identity_directory
from tests.fakes.watched_broker import Watched


def orders(directory: Path, length: int) -> Tally:
    """Orders that were accepted, again: no second job of them. Their nonces in other orders; orders that are over; and
    launches of their jobs, which were cancelled.
    """
    world, tally = BrokerWorld(directory), Tally()
    data, bundle, accepted = world.register_data(max_jobs=length + 1), world.register_bundle(), list[Signed]()
    overdue = [sign(world.order(data, bundle, not_after=world.time + 10), data.owner.key) for _ in range(length)]
    for _ in range(length):
        accepted.append(sign(world.order(data, bundle), data.owner.key))
        world.revoke(data.owner, "job", world.accept(accepted[-1]).job_id)
    world.time += 60
    for starts in range(2):
        for number, order in enumerate(accepted):
            what, job_id = f"order {number}, {starts} starts later", JobId.of(order.digest)
            other = sign(world.order(data, bundle, nonce=_nonce(order)), data.owner.key)
            tally.unmoved(what, lambda: _jobs(world), world.accept, order)
            tally.refuses(f"{what}, its nonce", "freshness.order", world.accept, other)
            tally.refuses(f"{what}, its job", "conflict.job_state", world.launch, TRAINER, job_id)
        for number, order in enumerate(overdue):
            tally.refuses(f"overdue order {number}, {starts} starts later", "freshness.order", world.accept, order)
        world.restart()
    world.accept(sign(world.order(data, bundle), data.owner.key))
    return tally


def releases(directory: Path, length: int) -> Tally:
    """Orders, launches and grants under a release that its keys have revoked."""
    world, tally, code = BrokerWorld(directory), Tally(), "appraisal.release"
    data, bundle = world.register_data(max_jobs=2 * length + 1), world.register_bundle()
    unused = [sign(world.order(data, bundle), data.owner.key) for _ in range(length)]
    jobs = [world.accept(sign(world.order(data, bundle), data.owner.key)).job_id for _ in range(length)]
    served = [(world.grant(world.finish(job_id)), world.launch(QUERY, job_id)) for job_id in jobs]
    for grant, launch in served:
        world.draw(launch, grant, 1)
    revocation = ReleaseRevocation(release=world.release.digest, created=world.time)
    world.channel().ask(RevokeRelease(revocation=sign(revocation, *world.release_keys)), Revoked)
    for starts in range(2):
        for number, order in enumerate(unused):
            tally.refuses(f"order {number}, {starts} starts later", code, world.accept, order)
        for job_id, (grant, launch) in zip(jobs, served, strict=True):
            what = f"of {job_id}, {starts} starts later"
            tally.refuses(f"a query enclave {what}", code, world.launch, QUERY, job_id)
            tally.refuses(f"answers {what}", code, world.draw, launch, grant, 1)
        world.restart()
    return tally


def policies(directory: Path, length: int) -> Tally:
    """Older versions of a data set's policy, as an update and with the data set's registration; and jobs that they
    alone would allow.
    """
    world, tally = BrokerWorld(directory), Tally()
    data, bundle, older = world.register_data(), world.register_bundle(), list[Signed]()
    newest = data.policy
    for version in range(2, length + 2):
        older.append(newest)
        terms = world.policy_terms(data.owner, policy_version=version, previous=newest.digest, max_jobs=0)
        newest = sign(terms, data.owner.key)
        world.channel(data.owner).ask(world.policy_update(data, newest), Registered)
    for starts in range(2):
        for number, policy in enumerate(older, 1):
            what, update = f"version {number}, {starts} starts later", world.policy_update(data, policy)
            tally.refuses(what, "freshness.policy", world.channel().ask, update, Registered)
            tally.unmoved(f"{what}, the data set", lambda: _policy(world, data), _register, world, data)
            tally.refuses(f"{what}, a job that it allowed", "policy.jobs", world.start_job, data, bundle)
        world.restart()
    world.channel(data.owner).ask(world.policy_update(data, newest), Registered)
    return tally


def terms(directory: Path, length: int) -> Tally:
    """Older versions of a bundle's terms, as an update and with the bundle's registration; and jobs that they alone
    would allow.
    """
    world, tally = BrokerWorld(directory), Tally()
    data, bundle, older = world.register_data(), world.register_bundle(), list[Signed]()
    newest, nobody = bundle.terms, (Party().party,)
    for version in range(2, length + 2):
        older.append(newest)
        following = world.bundle_terms(
            bundle.provider, policy_version=version, previous=newest.digest, owners=nobody
        )  # fmt: skip
        newest = sign(following, bundle.provider.key)
        world.channel(bundle.provider).ask(world.terms_update(bundle, newest), Registered)
    registration = world.bundle_registration(bundle)
    for starts in range(2):
        for number, signed in enumerate(older, 1):
            what, update = f"version {number}, {starts} starts later", world.terms_update(bundle, signed)
            tally.refuses(what, "freshness.terms", world.channel().ask, update, Registered)
            tally.unmoved(
                f"{what}, the bundle", lambda: _terms(world, bundle), world.channel().ask, registration, Registered
            )
            tally.refuses(f"{what}, a job that it allowed", "policy.provider_terms", world.start_job, data, bundle)
        world.restart()
    world.channel(bundle.provider).ask(world.terms_update(bundle, newest), Registered)
    return tally


def revocations(directory: Path, length: int) -> Tally:
    """Registrations of data sets and bundles that were revoked, and grants that were revoked or are over."""
    world, tally = BrokerWorld(directory), Tally()
    kept = world.register_data()
    job_id = world.start_job(kept)
    model = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    data, bundles = [world.register_data() for _ in range(length)], [world.register_bundle() for _ in range(length)]
    grants = [world.grant(model) for _ in range(length)]
    over = [world.grant(model, not_after=world.time + 10) for _ in range(length)]
    for one, bundle, grant in zip(data, bundles, grants, strict=True):
        world.draw(enclave, grant, 1)
        world.revoke(one.owner, "dataset", one.dataset_id)
        world.revoke(bundle.provider, "bundle", bundle.bundle_id)
        world.revoke(kept.owner, "grant", GrantId.of(grant.digest))
    world.time += 60
    for starts in range(2):
        for number in range(length):
            what, body = f"{number}, {starts} starts later", world.bundle_registration(bundles[number])
            tally.refuses(f"data set {what}", "policy.revoked", _register, world, data[number])
            tally.refuses(f"bundle {what}", "policy.revoked", world.channel().ask, body, Registered)
            tally.refuses(f"grant {what}", "policy.revoked", world.draw, enclave, grants[number], 1)
            tally.refuses(f"overdue grant {what}", "freshness.grant", world.draw, enclave, over[number], 1)
        world.restart()
    world.draw(enclave, world.grant(model), 1)
    return tally


def inventories(directory: Path, length: int) -> Tally:
    """Inventories of machines that a newer one has replaced, and newer ones that forget what was revoked."""
    world, tally, code, older = BrokerWorld(directory), Tally(), "freshness.inventory", list[TakeInventory]()
    for number in range(1, length + 1):
        older.append(_inventory(world, number, number))
        world.channel().ask(older[-1], InventoryTaken)
    for starts in range(3):
        for number, inventory in enumerate(older[:-1], 1):
            what, forgetful = f"inventory {number}, {starts} starts later", _inventory(world, length + 1, number)
            tally.refuses(what, code, world.channel().ask, inventory, InventoryTaken)
            tally.refuses(f"one that forgets like {what}", code, world.channel().ask, forgetful, InventoryTaken)
        world.restart()
    world.channel().ask(_inventory(world, length + 1, length), InventoryTaken)
    return tally


def shown_inventories(directory: Path, length: int) -> Tally:
    """Inventories that a newer one has replaced: shown to a party and to a witness by brokers that were rewound, to the
    party also as files.
    """
    watched, tally, code = Watched(directory), Tally(), "freshness.inventory"
    world, stores, documents = watched.world, list[MemoryStore](), list[Signed]()
    party = identity_directory(world, world.owner, directory / "party")
    watched.witness.round()
    for number in range(1, length + 1):
        stores.append(world.store.copy())
        documents.append(_inventory(world, number, number).inventory)
        with world.attended(watched.identity.signing_key):
            world.channel().ask(TakeInventory(inventory=documents[-1]), InventoryTaken)
        watched.witness.round()
        _show(watched, party)
    newest = world.store.copy()
    for starts in range(2):
        for number, (store, document) in enumerate(zip(stores, [None, *documents], strict=False)):
            what = f"inventory {number}, {starts} starts later"
            world.restart(store)
            tally.refuses(f"{what}, to a party", code, _show, watched, party)
            tally.refuses(f"{what}, to a witness", code, watched.again().round)
            if document is not None:
                tally.refuses(f"{what}, as a file", code, rules_shown(party, world.trust), document)
    world.restart(newest)
    _show(watched, party)
    watched.again().round()
    return tally


def _show(watched: Watched, party: context.Party) -> None:
    """The broker's quote, verified as that party verifies it."""
    world, rules = watched.world, rules_shown(context.Party(party.directory), party.trust.trust_settings)
    release = party.trust.open_release()
    verified_broker(watched.service, world.trust, release, rules, world.time, floor=TrustLevel.SIMULATION)


def _inventory(world: BrokerWorld, number: int, revoked: int) -> TakeInventory:
    machines = tuple(PlatformId(f"{one:032x}") for one in range(revoked))
    inventory = PlatformInventory(number=number, platforms=(), revoked=machines, created=world.time)
    return TakeInventory(inventory=sign(inventory, *world.release_keys))


def _nonce(order: Signed) -> bytes:
    return TrainingOrder.decode(order.payload).nonce


def _register(world: BrokerWorld, data: SealedData) -> Registered:
    return world.channel().ask(world.dataset_registration(data), Registered)


def _jobs(world: BrokerWorld) -> object:
    return world.head.size, sorted((job.job_id, job.state) for job in world.context.state.all(JobRecord))


def _terms(world: BrokerWorld, bundle: SealedBundle) -> object:
    return world.context.bundle(bundle.bundle_id).terms_document.digest


def _policy(world: BrokerWorld, data: SealedData) -> object:
    record = world.context.state.find(DatasetRecord, data.dataset_id)
    return None if record is None else record.policy_document.digest
