"""Events of joint orders and grants as lines for a person: a mark, a text, a style (side: owner)."""

import time
from collections.abc import Iterator

from client import joint_events as j

JointTold = j.JointPart | j.JointOrder | j.JointName | j.JointGrant | j.JointlySigned
Line = tuple[str, str, str]


def joint_lines(event: JointTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case j.JointPart():
            slots = ", ".join(map(str, event.slots))
            yield "owner", f"{event.owner}: {', '.join(event.datasets)} in slot {slots}", ""
            yield "", f"no model unless that owner's trainers had part in {event.minimal_rounds} rounds", "dim"
        case j.JointOrder():
            yield "order", f"{event.job_id}: {event.bundle_id} of provider {event.provider}", "bold"
            for part in event.parts:
                yield from joint_lines(part)
            yield "", f"a round counts with the deltas of at least {event.minimal_trainers} of the trainers", "dim"
        case j.JointName():
            yield "name", f"{event.name} of {event.owner}, record {event.number}: {event.current}", "bold"
            if event.canary is not None:
                yield "", f"{event.canary} is tried by {event.canary_permille} of 1000 sessions", ""
            if event.previous is not None:
                yield "", f"{event.previous} goes on answering who asked it", "dim"
        case j.JointGrant():
            until = time.strftime("%Y-%m-%d", time.gmtime(event.not_after))
            asked = event.model_id if event.name is None else f"{event.name}, now {event.model_id}"
            yield "grant", f"{event.grant_id}: {event.answers} answers of {asked} ({event.tells})", "bold"
            yield "user", f"{event.user}, until {until}", ""
        case j.JointlySigned():
            yield "signed", f"{event.path}, by {len(event.signers)}", "bold green"
            yield from (("missing", one, "") for one in event.missing)
