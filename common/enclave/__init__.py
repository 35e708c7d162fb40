"""Enclaves: measured, launched, quoted, and what they see of their platform (side: host and enclave).

enclave side   boot (first measured code), runtime (what an enclave asks its platform), simulation (its private socket)
host side      launcher, measurement, snapshot, environment, simulated_* (the simulated CPU), development, roles
both           trust_settings (measured with the code)
"""
