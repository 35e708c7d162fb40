"""How every service speaks HTTP: uvicorn with uvloop and httptools, nothing said about itself (side: host)."""

from typing import Final

import uvicorn
from fastapi import FastAPI

GRACE_SECONDS: Final = 5
"""How long answers that are under way may take once the service is told to end."""


def serve(app: FastAPI, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT. Who sends a request is read from its signature, never from a proxy's header."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
