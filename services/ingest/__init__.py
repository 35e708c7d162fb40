"""Ingest: the operator's front door for owners and providers (side: host).

Role: takes ciphertext, signed documents and wrapped keys from enrolled identities; keeps them; schedules jobs.
Reads: headers and digests of sealed objects, the public part of orders, who signed what.
Holds: the object store, the registry and the job board; no key.
Sends: registrations and orders to the attestation service, tasks and events to RabbitMQ.

    intake        resumable uploads, objects                publishing   data sets and bundles
    submission    signed orders, from wherever they come    order_queue  ... from RabbitMQ
    job_desk      jobs, events, reports, models of a party  event_feed   public events to RabbitMQ
    scheduling    reserve, send tasks, reap                 routes, object_routes, app  HTTP

What it decides (quota, structure, order of jobs) concerns service, never secrecy: the key broker judges every document
again, and enclaves check every byte.
"""
