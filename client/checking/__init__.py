"""`cloister provider check`: provider code in the sandbox of a job, on synthetic rows (side: owner).

Runs on the provider's machine.  Reads: a provider's directory.  Holds: nothing of anybody else's.  Sends: nothing.

    synthetic   rows of the columns that provider.toml, or a schema file, declares
    checks      in which order, and what must come of each
    designs     design code alone: a profile in, a document out, and steering
    runs        the job's own sandboxes, and the same once more under watch; findings: what the latter told
    watched     a sandbox with a child that says what happens in it
    telling     what the child tells, and how: one window that no sandbox of a job has
    child       (side: sandbox) the child's main functions, put into the tree for a check alone
    costs       what a step takes, for a publication; nothing of it is watched
    advice      what to do instead of what the sandbox refuses

No enclave imports any of this, so none of it is in an enclave's measured files, and a job's sandbox has neither the
window nor the code that would write into it (tests/security/sandbox/test_no_text_leaves.py).
"""
