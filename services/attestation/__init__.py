"""Attestation service: verifier and key broker (sides: host for app, relay, settings; enclave for the rest).

Role: appraises launches, holds the parties' keys, releases them to attested members of allowed orders, counts budgets.
Reads: signed documents, quotes. Holds: broker keys, data keys, bundle keys, job keys, model keys, all of them sealed in
its state. Sends: signed replies; keys wrapped to one launch each.

    app             host     GET /v1/release, health;  broker_routes: POST /v1/broker; they only carry bytes
    callers         host     who may ask what over HTTP, and how often;  strangers: what is open to all
    relay           host     the enclave's door; starts it again when it ends
    *_routes        host     collateral for clients, kept current in the background;  attestation results as tokens;
                             GET /v1/log/...: the decision log to whoever may read it (log_store: pages and proofs)
    state_files     host     the sealed state and the log on disk, durable before it is acknowledged;  record_file
    state_door      both     what crosses the door then
    recovery_files  host     packages for the day on which this machine is gone;  recovery_routes: that day
    enclave         enclave  entry: builds the broker behind the door
    key_broker      enclave  bytes in, signed reply out: the table of requests
    registration    enclave  data sets, bundles;  policy_changes: later versions of what guards them (versions: which
                             of them stands);  orders: accepting them;  completion: the end of a job
    admission       enclave  challenge and evidence of one launch;  key_grants: what it gets then
    budget          enclave  answers under grants, in blocks;  revocation: a party ends something of its own
    collateral      enclave  no older collateral than was seen before
    tokens          enclave  attestation results in the EAR form;  trust_vector: the numbers in them
    verifier        enclave  evidence to appraised claims;  challenges: single-use nonces
    members         enclave  who holds which slot, fencing
    records, state  enclave  what is remembered, sealed and chained;  decision_log: its Merkle log
    log_subjects    enclave  what an entry says;  refusal_log: which refusals enter it;  attribution: whom one concerns
    token_log       enclave  which tokens enter it;  open_counts: the others of both, by number
    reasons         enclave  why, for those whose terms refused;  noted_answers (host): for the operator's log
    recovery        enclave  a data set comes from a broker that is gone;  recovery_log: is its package the newest?
    recovery_packages enclave  what goes out for that day, with each decision
    state_anchor    enclave  frozen until the witnesses say that the state is the newest
    tpm_counters    enclave  a TPM's counter as such a witness;  peers: this broker as a witness of another
    handover        enclave  the state goes to a broker of another build;  handover_terms: whose keys go along
    *_package       enclave  what leaves, sealed to the heir;  inheritance: the heir's side
    door_stores     enclave  how state and package reach the host
    handover_relay  host     carries it between two doors;  handover_files: what the host keeps of it
"""
