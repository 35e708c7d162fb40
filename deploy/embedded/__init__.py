"""The embedded stack: RabbitMQ, Redis and Cloister's services as one private set of processes (side: host).

    EmbeddedStack (stack.py)            what `cloister up | status | down | clean`, the demo and pytest call
      supervisor.py: guardian           parent of everything; when the supervisor ends, however, it ends all the rest
        supervisor.py: supervisor       starts, watches, restarts, stops
          service_run.py                one service and its life
            epmd, rabbitmq, redis       rabbitmq.py, redis_server.py
            attestation, ingest, ...    table.py

Reads: the state directory and the table of services. Holds: credentials of the private RabbitMQ and Redis, which guard
ciphertext only. Sends: nothing beyond 127.0.0.1. Nobody trusts it: it may deny service, and opens nothing.
"""
