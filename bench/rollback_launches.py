"""Superseded launches and what was once said, shown to the key broker and to those who ask it (side: owner)."""

import functools
from collections.abc import Callable
from pathlib import Path

from bench.rollback_tally import Tally
from common.broker_channel import BrokerChannel, open_reply
from common.errors import refusal_of
from common.identifiers import JobId, RoleName
from common.key_retrieval import Launch, renew_lease
from common.messages.admission import Challenge, IssueChallenge, Leased, RenewLease
from common.messages.jobs import Completed, ListMembers, Members
from common.messages.refusal_detail import Refused
from common.messages.tokens import AttestationToken, IssueToken
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, BrokerWorld

QUESTION = b'"issue-challenge"'
"""In the bytes of a request that anybody may make, again and again."""


class Recorder:
    """A host that keeps every request to a broker and every reply."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world, self.carried = world, list[tuple[bytes, bytes]]()

    def ask(self, raw: bytes) -> bytes:
        """Carry it."""
        reply = self.world.handle(raw)
        self.carried.append((raw, reply))
        return reply

    def channel(self) -> BrokerChannel:
        """A launch's conversation through this host."""
        return BrokerChannel(self.ask, self.world.genesis.signing_public)

    def again(self, raw: bytes) -> None:
        """The same request once more. Raises what the broker refuses."""
        body = open_reply(self.world.handle(raw), raw, self.world.genesis.signing_public).body
        if isinstance(body, Refused):
            raise refusal_of(body.code)


def attempts(directory: Path, length: int) -> Tally:
    """Superseded launches of a trainer and a parameter server: their renewals, also under a challenge from before they
    were superseded, their tokens, their last words; and every request of theirs again, also after a start.
    """
    world, tally = BrokerWorld(directory), Tally()
    host, job_id = Recorder(world), world.start_job(world.register_data(max_attempts=length + 2))
    for role in (TRAINER, PARAMSERVER):
        older = [_admitted(host, role, job_id) for _ in range(length)]
        newest, _ = _admitted(host, role, job_id)
        for launch, challenge in older:
            for what, (show, code) in _late_words(world, launch, challenge).items():
                tally.refuses(f"{what} of {role} {launch.attempt}", code, show)
        renew_lease(world.runtime(role), world.channel(), newest)
    for starts in range(2):
        for number, (raw, _) in enumerate(host.carried):
            if QUESTION not in raw:
                tally.refuses(f"request {number}, {starts} starts later", "freshness.challenge", host.again, raw)
        world.restart()
    world.finish(job_id)
    return tally


def _admitted(host: Recorder, role: RoleName, job_id: JobId) -> tuple[Launch, Challenge]:
    """A launch that has renewed its lease once, and holds a challenge for the next time."""
    launch = host.world.launch(role, job_id, ask=host.ask)
    renew_lease(host.world.runtime(role), host.channel(), launch)
    ask = IssueChallenge(role=role, job_id=job_id, slot=0, renews=launch.attempt)
    return launch, host.world.channel().ask(ask, Challenge)


def _late_words(world: BrokerWorld, launch: Launch, waiting: Challenge) -> dict[str, tuple[Callable[[], object], str]]:
    """All that a launch can say after another one took its place."""
    role, channel = launch.binding.role, world.channel()
    binding = launch.binding.model_copy(update={"nonce": waiting.nonce})
    evidence = world.runtime(role).evidence(binding.report_data())
    late = RenewLease(challenge_id=waiting.challenge_id, binding=binding, evidence=evidence)
    token = IssueToken(job_id=launch.terms.job_id, launch=launch.signing_key.party)
    words: dict[str, tuple[Callable[[], object], str]] = {
        "a renewal": (lambda: renew_lease(world.runtime(role), channel, launch), "freshness.attempt"),
        "a renewal that was under way": (lambda: channel.ask(late, Leased), "freshness.attempt"),
        "a token": (lambda: channel.ask(token, AttestationToken), "not_found.launch"),
    }
    if role == PARAMSERVER:
        last = world.completion(launch)
        words["the last word"] = (lambda: channel.ask(last, Completed), "authenticity.signature")
    return words


def replies(directory: Path, length: int) -> Tally:
    """Everything that the broker ever said to a trainer, a parameter server and a query enclave, given to the same
    launch for an answer to its next question: challenges, keys, leases, member lists, blocks of answers.
    """
    world, tally = BrokerWorld(directory), Tally()
    host, job_id = Recorder(world), world.start_job(world.register_data(max_attempts=length + 2))
    members = ListMembers(job_id=job_id)
    for role in (TRAINER, PARAMSERVER):
        for _ in range(length):
            _admitted(host, role, job_id)
            host.channel().ask(members, Members)
    grant, launch = world.grant(world.finish(job_id)), world.launch(QUERY, job_id, ask=host.ask)
    for _ in range(length):
        world.draw(launch, grant, 1, channel=host.channel())
    attest = IssueChallenge(role=TRAINER, job_id=job_id, slot=0)
    for number, (_, reply) in enumerate(host.carried):
        what, code = f"reply {number} to one who", "authenticity.broker_reply"
        channel = BrokerChannel(functools.partial(_say, reply), world.genesis.signing_public)
        tally.refuses(f"{what} lists members", code, channel.ask, members, Members)
        tally.refuses(f"{what} attests", code, channel.ask, attest, Challenge)
        tally.refuses(f"{what} draws", code, functools.partial(world.draw, launch, grant, 1, channel=channel))
    return tally


def _say(reply: bytes, _request: bytes) -> bytes:
    return reply
