"""TPM 2.0 as its peer sees it: what its keys and its counter look like to the byte, and what a step of it proves (side:
library).

Pure: bytes in, facts out, or an exception; the commands themselves are sent by `common/tpm_host` and `client/tpm`.
Sources are parts and tables of TCG's TPM 2.0 Library Specification (Part 1 Architecture, 2 Structures, 3 Commands) and
of TCG's EK Credential Profile. `layouts` has keys and counter, `steps` the proof of one step.
"""
