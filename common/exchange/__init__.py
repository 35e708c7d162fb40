"""The exchange between trainers and parameter server: fixed frames on a fixed clock (side: library).

Role: both enclaves speak through this package, so that what the host sees of it depends on the order's public part.
Holds: nothing; keys come in as objects of common/crypto.  Sends: nothing; the caller moves the bytes.

    schedule   arithmetic of a job's clock and traffic, from the public Schedule alone
    clock      which tick is due: each is taken once, missed ones are skipped, never sent in a burst
    frames     the layout of a frame; sealing and opening one direction between two launches
    parts      payloads cut into frames and put together again; dummies where there is nothing to say
    payloads   what payloads say: states (fp32), deltas (bf16 with error feedback), a round's figures
    steering   what is said of a design: its document, and the losses that it steers by

Legend of shapes: P parameters, padded to the order's `state_class`.
"""
