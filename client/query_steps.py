"""The steps that an exchange with the query service takes, as values, and when one is taken again (side: owner).

Whoever performs them (client/query_session, client/async_query_session) sends the body of the answer back, or throws
the refusal that came instead.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

from common.errors import Refusal, UnavailableError

ATTEMPTS: Final = 36
"""How often the same bytes are sent before the user hears that the service is not available: 67 s in all, more than
the minute within which terms bound queries."""

PAUSE_SECONDS: Final = 0.5
"""First pause before bytes are sent again; it doubles up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS: Final = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Get:
    """The body of a GET of this path is wanted."""

    path: str


@dataclass(frozen=True)
class Post:
    """The body of the answer to a POST is wanted."""

    path: str
    body: bytes


@dataclass(frozen=True)
class Consult:
    """What `read` gives is wanted; it asks another service, and waits for it."""

    read: Callable[[], bytes]


@dataclass(frozen=True)
class Pause:
    """Nothing is wanted for so long."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Nothing is wanted from outside; `do` takes milliseconds of computing, which other tasks need not wait for."""

    do: Callable[[], None]


Step = Get | Post | Consult | Pause | Work
Exchange = Generator[Step, bytes, T]


def patiently(step: Get | Post) -> Exchange[bytes]:
    """What comes of it, taken again while the service is not available."""

    def send() -> Exchange[bytes]:
        return (yield step)

    return (yield from repeat(send, lambda refusal: isinstance(refusal, UnavailableError)))


def aside(work: Callable[[], T]) -> Exchange[T]:
    """What `work` gives, done where nobody else waits for it."""
    done = list[T]()
    yield Work(lambda: done.append(work()))
    return done[0]


def repeat(action: Callable[[], Exchange[T]], will_pass: Callable[[Refusal], bool]) -> Exchange[T]:
    """What `action` gives, done again after each refusal that will pass, `ATTEMPTS` times in all."""
    pause = PAUSE_SECONDS
    for _ in range(ATTEMPTS - 1):
        try:
            return (yield from action())
        except Refusal as refusal:
            if not will_pass(refusal):
                raise
        yield Pause(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return (yield from action())
