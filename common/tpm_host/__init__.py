"""A machine's own TPM, and what the machine shows of itself with it (side: host).

Role:  sends a TPM its commands; quotes this host; records what is run where the kernel does not.
Reads: a TPM device; the boot log and IMA's list, where Linux shows them. Holds: no key, for those stay in the TPM.
Sends: public values. Nobody believes this code: what it says is judged in `common/tpm_ima` and `common/tpm`.
"""
