"""The parameter server (sides: host for worker and relay, enclave for the rest).

Role: aggregates the rounds of training jobs, several at once, each on its own clock. Reads: trainers' frames. Holds:
each job's state and, at its end, its model key. Sends: one batch of frames a tick, reports of one size sealed to each
owner, the sealed model with its signed manifest.

    worker         host     opens jobs for Celery tasks; supervises the relay and renews leases
    relay          host     one long-lived enclave's door, RabbitMQ, object store and job board
    enclave        enclave  entry: jobs at the door, each on a thread of its own
    running        enclave  one job from admission to its end, on the clock
    job            enclave  the pure machine behind a tick; membership, schedule, aggregation are its parts
    job_context    enclave  what order and terms say of it
    epochs         enclave  passes over the data, of which their owner reads
    checkpointing  enclave  sealed checkpoints, from which a later launch goes on;  checkpoint: their layout
    reporting      enclave  what the owners read;  model_sealing: the model and its manifest
    verdict        enclave  whether the model is answered in int8
"""
