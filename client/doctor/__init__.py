"""`cloister doctor`: what this machine and its stack lack, each with the command that mends it (side: owner).

    machine   TEE, kernel, bubblewrap, seccomp, clock, disk, memory, the distribution's programs
    stack     the build that made the state, services, RabbitMQ, Redis, registry, collateral

A part is `ok`, a `note` (works, but a person should know), or to be mended. Nothing is changed, and nothing secret is
shown: no address with credentials, no content.
"""

from client.doctor.examination import examine

__all__ = ["examine"]
