"""`cloister demo`: the whole path once, on this machine (side: owner)."""

import functools
import json
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import click

from client.commands.state_directory import EMBEDDED, context_name, state_directory
from client.demo import DemoPlaces, run_demo
from client.events import DemoFinished, Event, Noted
from client.measuring import digest_cache
from client.rendering import Terminal
from client.stack_access import read_carried, read_endpoints, read_trust_settings, start_stack, stated_environment
from common.errors import CloisterError
from deploy.embedded.stack import EmbeddedStack


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack up, and the parties' directories where they are.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=state_directory,
    show_default=str(EMBEDDED),
    envvar="CLOISTER_STATE",
    help="State directory for the stack; deleted afterwards if the demo made it.",
)
def demo(json_file: Path | None, state: Path, *, keep: bool) -> None:
    """Walk the whole path: three parties, all services, sealed data to sealed answers, in two minutes."""
    show = Terminal()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        elsewhere = context_name() is not None  # whoever runs that stack has started it
        with nullcontext(time.monotonic()) if elsewhere else _stack(state, show, keep=keep) as begun:
            for event in _walk(state, begun, elsewhere=elsewhere):
                show.show(event)
                if isinstance(event, DemoFinished) and json_file is not None:
                    json_file.write_text(json.dumps(event.model_dump(mode="json", exclude={"type"}), indent=2) + "\n")
    except CloisterError as error:
        show.refused(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        show.show(Noted(text="interrupted; everything that the demo started is stopped", warning=True))
        raise SystemExit(130) from None


@contextmanager
def _stack(state: Path, show: Terminal, *, keep: bool) -> Iterator[float]:
    """A running stack, and the monotonic time at which it began to start. Stopped at the end, except `keep` and well.

    Until then it is tied to this process, however that ends. What failed leaves its logs.
    """
    stack, begun, fresh = EmbeddedStack(state), time.monotonic(), not state.exists()
    kept, failed = False, True
    try:
        for event in start_stack(stack, tied=True):
            show.show(event)
        yield begun
        failed = False
        if keep:
            stack.untie()
            kept = True
    except KeyboardInterrupt:
        failed = False
        raise
    finally:
        show.close()
        if stack.is_ours and not kept:
            stack.stop()
            if fresh and not failed:
                stack.clean()


def _walk(state: Path, begun: float, *, elsewhere: bool) -> Iterator[Event]:
    endpoints, trust_settings = read_endpoints(state), read_trust_settings(state)
    directory = state.absolute() / "demo" / secrets.token_hex(4)  # a twin works in another directory
    directory.mkdir(mode=0o700, parents=True)
    yield Noted(text=f"the parties' own directories: {directory}")
    places = DemoPlaces(directory, digest_cache(), endpoints, trust_settings)
    if elsewhere:
        places = replace(places, environment=stated_environment(state))
        yield Noted(
            text=f"of its enclaves, our code is measured here; their other files, environment {places.environment}, "
            "are what the stack says of itself (docs/deploy-compose.md)",
            warning=True,
        )
    yield from run_demo(places, begun, dict if elsewhere else functools.partial(read_carried, state))
