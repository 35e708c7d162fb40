"""Enclaves for Gramine: their file trees, their manifests, and Gramine's own tools (side: host).

    closure     which files an enclave's code imports, found by importing it in a fresh interpreter (`tracing`)
    staging     those files, copied to a tree with fixed places: all that the enclave will ever see
    rendering   services/*/enclave.manifest.template and that tree -> a manifest, the same bytes on every machine
    manifest    what a manifest of ours may say, checked without Gramine
    tools       gramine-manifest, gramine-sgx-sign: signed manifests, MRENCLAVE and MRSIGNER without SGX hardware
    building    all of it, for every role

docs/deploy-sgx.md says how they are used.
"""
