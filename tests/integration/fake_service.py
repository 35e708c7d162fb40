"""A small service for tests of the supervisor: real processes and a real `/readyz`, with chosen defects.

Settings: `listen_port`; `unready_answers`: how many times it first says that it waits for "patience"; `daemons`: how
many children it leaves in sessions of their own, twice forked, deaf to SIGTERM; `exit_status`: end at once with it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

_DEAF_DAEMON = """
import os, signal, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    settings = json.loads(parser.parse_args().settings.read_text())
    if "exit_status" in settings:
        sys.exit(settings["exit_status"])
    for _ in range(settings.get("daemons", 0)):
        subprocess.run([sys.executable, "-I", "-S", "-c", _DEAF_DAEMON], check=True)
    unready = iter(range(settings.get("unready_answers", 0)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = next(unready, None) is None
            body = json.dumps({"ready": ready, "waiting_for": [] if ready else ["patience"]}).encode()
            self.send_response(200 if ready else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    HTTPServer(("127.0.0.1", settings["listen_port"]), Handler).serve_forever()


if __name__ == "__main__":
    main()
