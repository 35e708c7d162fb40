"""The other end of a TPM that witnesses for the key broker: its commands, and who carries them (side: host).

Role:  steps the TPM's counter for each head of the broker's log, and brings the proofs (common/tpm/steps).
Reads: a TPM device; the attestation service. Holds: no key, and the last proofs in a file.
Sends: public values only. The broker's enclave believes none of it: a carrier that lies, or is kept away, stops the
       broker and gains nothing. So it may run on the operator's own machine, where a witness's key may not.
"""
