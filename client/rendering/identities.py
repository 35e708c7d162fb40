"""Events of identities as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client import events as e
from client.rendering.words import Line

IdentityTold = e.IdentityMade | e.IdentityKnown | e.IdentityReplaced


def identity_lines(event: IdentityTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.IdentityMade():
            yield "identity", f"{event.name}  {event.party}  in {event.directory}", ""
            if event.unsafe_simulation:
                words = "this identity accepts SIMULATED platforms: whoever runs the host can read its data."
                yield "UNSAFE", f"{words} Production key brokers refuse it.", "bold white on red"
            if event.recovery_key is None:
                yield "warning", "no recovery key: nobody ends this identity when its key is stolen", "red"
            else:
                yield "recovery", f"{event.recovery_key}: move it to a medium that stays offline, now", "bold"
                yield "", "it revokes or replaces this identity, and does nothing else; daily work never needs it", ""
        case e.IdentityKnown():
            words = "without a recovery key, for good" if event.recovery is None else f"recovery key {event.recovery}"
            yield "known", f"the key broker knows {event.party[:16]}...: {words}", ""
        case e.IdentityReplaced():
            yield "replaced", f"{event.party} by {event.successor}", ""
            void = "all that it signed stands"
            if event.void_from is not None:
                void = f"void from log entry {event.void_from} on"
            yield "", f"{void}; {event.carried} documents and keys came along", ""
            yield "", "name the new identity with --as from now on; sign grants anew", ""
