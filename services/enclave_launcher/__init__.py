"""The enclave launcher (side: host).

Role: starts enclaves as containers for workers of this machine, so that no worker speaks to the Docker engine: whoever
does is root there. Reads: the name of a role, nothing else; what its container is stands in settings that callers can't
change. Holds: the engine's socket. It has no network, and listens on a unix socket that the trainer worker alone is
given. Sends: the descriptor of a container's three streams, and how it ended (common/untrusted/launching/sockets).

A caller who is an attacker can start as many enclaves as `most` says, each with that container's bounds, and end those
that he started. He chooses no image, mount, command, network or right, and can end no other container.

    app    entry: settings, socket, health        launching    one caller from hello to the enclave's end
"""
