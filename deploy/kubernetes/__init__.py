"""The stack on Kubernetes: a Kustomize tree, and what an installation adds to it (side: host).

    base        our services, for any platform
    brokers     RabbitMQ, Redis and PostgreSQL, for a site that has none (a component)
    overlays    simulation: without hardware; sgx: under gramine-sgx
    preparation `cloister kubernetes prepare`: secrets and settings, and the kustomization that applies everything

docs/deploy-kubernetes.md says how they are used.
"""
