"""What answers queries dies at random moments while users ask (side: owner).

Lost: a question whose user got no answer, another one than before, or a refusal, although the session sent it again
(client/query_session). Doubled: a question of the queue that was answered twice; who asks anew in a session with a new
launch asks another question, and is charged for it.
"""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from redis import Redis
from redis.exceptions import RedisError

from bench.kill_asking import Asker
from bench.kill_victims import VICTIMS, ProcessGroup
from bench.serve_callers import Sealed
from bench.serve_models import MODELS
from bench.serve_scene import ServeScene
from services.query_enclave.question_reader import connect
from services.query_enclave.streams import answers_of

KILLED: Final = ("query worker", "query enclave", "query launcher", "query sandbox", "redis")
USERS: Final = 16
PAUSE_SECONDS: Final = 0.02
"""Of each user, so that questions are always under way: some hundreds a second."""

LONGEST_PAUSE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05
_FIND_SECONDS: Final = 60.0


class AnswerWatch:
    """Reads every answer that stands in Redis, and counts them by question."""

    def __init__(self, url: str) -> None:
        self._redis, self._stopped = connect(url), threading.Event()
        self._seen: Counter[bytes] = Counter()
        self._last: dict[bytes, bytes] = {}

    @property
    def doubled(self) -> int:
        """Questions with more than one answer."""
        return sum(times > 1 for times in self._seen.values())

    @property
    def answers(self) -> int:
        """In all."""
        return sum(self._seen.values())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """On a thread of its own."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            with contextlib.suppress(RedisError):
                self.look(self._redis)

    def look(self, redis: Redis) -> None:
        """Count what came to each stream since the last look; a stream's numbers only grow, also over a restart."""
        for stream in list(redis.scan_iter(match=answers_of("*"))):
            entries: Any = redis.xrange(stream, min=b"(" + self._last.get(stream, b"0-0"))
            for number, fields in entries:
                self._last[stream] = number
                self._seen[fields[b"id"]] += 1


def measure_kills(scene: ServeScene, kills: int, seed: int) -> dict[str, Any]:
    """`queries_lost` and `queries_doubled` over so many kills; it ends with the first round in which one was lost."""
    chance, model = random.Random(seed), MODELS["resnet20_padded"]
    rows = np.load(scene.rows(model), allow_pickle=False)
    sealed, watch = Sealed.of(scene.sealed(model, USERS)), AnswerWatch(scene.stack.redis_url)
    askers = [Asker(sealed.open, rows[number : number + 1], PAUSE_SECONDS) for number in range(USERS)]
    died: Counter[str] = Counter()
    problems: list[str] = []
    with watch.watching(), contextlib.ExitStack() as asking:
        for one in askers:
            one.start()
            asking.callback(one.stop)
        while sum(died.values()) < kills and not problems:
            time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            name = chance.choice(KILLED)
            died[name] += _kill(scene, name)
            problems = [problem for one in askers for problem in one.problems()]
    return {
        "queries_lost": len(problems),
        "queries_doubled": watch.doubled,
        "kills": dict(died),
        "kills_seed": seed,
        "queries_answered": sum(one.answered for one in askers),
        "answers_watched": watch.answers,
        "problems": problems,
    }


def _kill(scene: ServeScene, name: str) -> bool:
    """Wait until it lives, and end it; whether it died."""
    end = time.monotonic() + _FIND_SECONDS
    while not (found := VICTIMS[name].find(scene.stack.status())):
        if time.monotonic() > end:
            raise TimeoutError(f"no {name} came up")
        time.sleep(_LOOK_SECONDS)
    return ProcessGroup.of(found[0]).kill()
