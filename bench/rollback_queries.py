"""Sessions, queries, answers, placements and grants from earlier, at query enclaves and their users (side: owner)."""

from pathlib import Path
from typing import Final

from bench.rollback_tally import Tally
from services.query_enclave.sessions import ANSWERS_KEPT
from tests.fakes.query_world import Launch, QueryWorld, rows_of

_HOUR_SECONDS: Final = 3600


def queries(directory: Path, length: int) -> Tally:
    """Each opening and query that a launch was sent: to itself, also when it has forgotten the answer, and to two later
    launches of the same model. Nothing is evaluated and nothing charged. And each answer, to another question.
    """
    world, tally = QueryWorld(directory), Tally()
    launch, later = world.launch(), [world.launch() for _ in range(2)]
    session = world.session(launch, world.grant(answers=1000))
    for _ in range(ANSWERS_KEPT + length):
        session.ask(rows_of(1))
    sent, received, send = list(launch.sent), list(launch.received), launch.post
    for number, (path, body) in enumerate(sent):
        opens = path.endswith("/sessions")
        tally.unmoved(f"message {number}", lambda: _done(world, launch), send, path, body)
        for name, other in enumerate(later):
            show = other.sessions.open if opens else other.answering.answer
            code = "authenticity.wrapped_key" if opens else "freshness.session"
            tally.refuses(f"message {number}, to later launch {name}", code, show, body)
    launch.post = lambda _path, _body: received.pop()  # type: ignore[method-assign,assignment]
    for number in range(len(received) - 1, 0, -1):
        tally.refuses(f"answer {number}", "authenticity.query", session.ask, rows_of(1))
    world.session(later[0]).ask(rows_of(1))
    return tally


def _done(world: QueryWorld, launch: Launch) -> tuple[int, int]:
    return launch.model.calls, sum(world.ledger.drawn.values())


def placements(directory: Path, length: int) -> Tally:
    """To users: launches whose placement is over, and the placements of earlier launches for later ones. To enclaves:
    grants that are over, when a session opens and while it runs.
    """
    world, tally = QueryWorld(directory), Tally()
    older = [world.launch() for _ in range(length)]
    grants = [world.grant(nonce=number.to_bytes(16, "big"), answers=9) for number in range(length)]
    sessions = [world.session(launch, grant) for launch, grant in zip(older, grants, strict=True)]
    for session in sessions:
        session.ask(rows_of(1))
    newest = world.launch()
    for number, launch in enumerate(older):
        genuine, newest.placement = newest.placement, launch.placement
        tally.refuses(f"placement {number} for a later launch", "appraisal.binding", world.session, newest)
        newest.placement = genuine
        past = world.launch(not_after=world.now() - 1 - number)
        tally.refuses(f"a placement that is over for {number} s", "freshness.placement", world.session, past)
    world.later = _HOUR_SECONDS + 1
    for number, (session, grant) in enumerate(zip(sessions, grants, strict=True)):
        tally.refuses(f"grant {number} in its session", "freshness.grant", session.ask, rows_of(1))
        tally.refuses(f"grant {number} in a new session", "freshness.grant", world.session, newest, grant)
    world.later = 0
    world.session(newest).ask(rows_of(1))
    return tally
