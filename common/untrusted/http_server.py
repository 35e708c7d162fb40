"""How every service speaks HTTP: uvicorn with uvloop and httptools, nothing said about itself (side: host)."""

import sys
from typing import Final

import uvicorn
from fastapi import FastAPI

from common.memory import keep_freed_memory
from common.untrusted.punctual_http import PunctualProtocol

GRACE_SECONDS: Final = 5
"""How long answers that are under way may take once the service is told to end."""

CONNECTIONS: Final = 900
"""At one time; more are answered 503. Each may hold what it has sent of a request; a process may have 1,024 files open
where nobody allows more (`ulimit -n`)."""

SWITCH_SECONDS: Final = 0.0005
"""How long one thread may keep the others of its process waiting (CPython: 0.005). An enclave whose decision is being
stored waits for three such turns of its host's threads, while the loop has other requests to read."""


def serve(app: FastAPI, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT. Who sends a request is read from its signature, never from a proxy's header."""
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_freed_memory()
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=PunctualProtocol,
        limit_concurrency=CONNECTIONS,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
