"""Answers sealed queries with a sealed model, within the budget that owner and provider allow.

    app              [host]    HTTP front: proof, sessions, queries; opaque bytes of one size each way
    admission        [host]    what one front takes on at one time, in bytes and by party
    front_desk       [host]    the front's end of the queue: a question out, its answer in
    submissions      [host]    questions that are asked now, whose answers are fetched later
    question_sender  [host]    the front's questions on their way to Redis, together
    streams          [host]    what stands in Redis between front and worker, to the field
    slots            [host]    large bodies, in files beside Redis
    question_reader  [host]    the worker's end: each question reaches the enclave at least once
    question_writer  [host]    its answers, all that are ready in one transaction
    worker           [host]    Celery worker; keeps a relay for each served model
    placements       [host]    which models are placed here, from the registry's truth, and keeping them so
    sharing          [host]    which more places of a busy model this worker takes
    backlog          [host]    how many questions wait, and for how long: metrics, and what workers are scaled by
    spare            [host]    one enclave that is launched before a model needs it
    leases           [host]    one worker for one place of a model, and the proofs that fronts may show
    relay            [host]    one query enclave behind its door, and the stream that it answers
    settings         [host]    what both host processes are told
    enclave          [enclave] the launch: attests, opens bundle and model, starts the sandbox, offers the door
    model            [enclave] a sealed model becomes the state that the sandbox computes with
    grants           [enclave] who may ask what, and budgets drawn from the broker in blocks, good for one lease
    blocks           [enclave] what is held under a grant, and how much more to draw
    sessions         [enclave] one user's sealed channel; a repeated query is answered from memory
    rates            [enclave] how many queries a user asks in a minute
    telling          [enclave] how much of a model's scores an answer tells
    receipts         [enclave] what the launch signs of an answer, where its user asked for it
    answering        [enclave] one query: opened, judged, charged, computed, sealed, released on the quantum
    batching         [enclave] questions of several users in one evaluation of a graph, and none spoils another's
    batch_size       [enclave] how many of them: a function of the checked graph
    departures       [enclave] when answers leave

The enclave reads: placement, bundle and model (through its door), sealed queries. It holds: bundle and model keys,
weights, session keys, budget blocks, in memory alone. It sends: sealed answers and replies of one size, its proof.
The host reads and holds ciphertext, public documents, sizes and times.

A query is delivered at least once and evaluated at most once: its session and counter name it.
"""
