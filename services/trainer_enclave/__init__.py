"""The trainer (sides: host for worker and relay, enclave for the rest).

Role: one slot of one training job at a time and enclave. Reads: sealed data and bundle from the object store, frames of
the parameter server. Holds: the job's keys for one launch, plaintext rows in memory. Sends: one batch of frames a tick
and chunk reads on the same clock, whatever happens inside.

    worker     host     claims slots for Celery tasks, starts and reaps relays, renews their leases
    relay      host     one process a slot: the enclave's door on one side, RabbitMQ and the object store on the other
    enclave    enclave  entry: start at the door, attest, open, join, run the clock to its end
    dataset    enclave  chunk reads on the clock, sharding, the rows of a round
    training   enclave  the provider's code in its sandbox, deltas and notes
    quantising enclave  the final state in int8, at the slot that judges it
    exchange   enclave  frames, states and sayings;  job: joins exchange and training on the clock
"""
