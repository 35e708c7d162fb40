"""What a measured host shows for itself: a TPM's quote, the list of what its kernel ran, and who vouches for that TPM
(side: verifier).

Evidence in, claims out, or an exception; then claims against a signed profile. Pure: files and devices are read by
`common/tpm_host`. Sources are TCG's TPM 2.0 Library Specification (Parts 1 and 2), PC Client Platform Firmware Profile
and EK Credential Profile, and Linux' Documentation/security/IMA-templates.rst. docs/host-profile.md tells it in order.

    quote_format    where the parts of a quote lie            boot_log    what firmware and boot loader measured
    key_areas       which keys may quote                      ima_list    what the kernel measured, entry by entry
    endorsement     whose TPM it is, and that the key is in it ima_replay  the entries that a quote speaks of
    registers       what the quote says of the registers      allowed_files, appraisal  a profile, and what is held
    verification    all of it, in its order                   continuity  one quote after another
"""
