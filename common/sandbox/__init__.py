"""Confinement of unreviewed provider code behind two small protocols (side: enclave).

Role: an enclave hands rows and a state to provider code and takes back one buffer of a fixed size; nothing else leaves.
Reads: an opened bundle, rows, a state.  Holds: plaintext windows in memory.  Sends: nothing.

    protocol       what an enclave sees of a sandbox: limits, outcomes, TrainingSandbox, QuerySandbox
    native         both protocols with a child process under bubblewrap
    enclosed       both protocols for designs and graphs alone, in the enclave's own process: under Gramine
    exporting      native code becomes a graph, in a child that sees nothing but the bundle
    child          one confined process: start, await, kill; its pipes
    tree           the file tree that the child sees, described; interpreter: the parts of it that are Python and torch
    stage          a script: builds that tree in a private mount namespace, gives up all rights, becomes bubblewrap
    bubblewrap     bubblewrap's command line
    seccomp        the system calls that stay open, each group with its reason
    windows        memory shared with the child: read-only windows in, one output buffer back
    probe          require_confinement(): can this machine confine at all?

What runs *inside* is common/sandboxed; of it, this package imports the wire layout only, so no torch.
"""
