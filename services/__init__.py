"""The services: each a host rim (worker, relay, app) around an enclave that holds what matters (sides: see each)."""
