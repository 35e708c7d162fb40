"""What RabbitMQ, Redis and PostgreSQL let each service do: their configuration files (side: host).

Every service has a user of its own, and no right that it does not use. There are no default users. Passwords are stored
hashed where the server only has to check them. All three listen with TLS alone; PostgreSQL's local socket stays inside
its container.

RabbitMQ (rabbitmq.com/docs/access-control): patterns of what a user may configure (declare, delete), write to (publish
to an exchange, bind a queue) and read from (consume, bind to an exchange). A trainer can thus give nobody a task, and
no worker can read or write orders. Frames of all jobs share one exchange: whoever has a trainer's password can add
frames to any job, and enclaves refuse them.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Final

VIRTUAL_HOST: Final = "cloister"
SECRETS: Final = "/run/secrets"

_TASKS, _FRAMES, _OWN = r"cloister\.tasks", r"cloister\.frames", r"amq\.gen-.*"
_ORDERS: Final = r"cloister\.orders|cloister\.orders\.refused"
_EVENTS: Final = r"cloister\.events"
_QUEUES: Final = "trainer|paramserver|query"


def _pattern(*names: str) -> str:
    return f"^({'|'.join(names)})$"


def _worker(queue: str, *more: str) -> tuple[str, str, str]:
    """It takes tasks from its queue, which it may declare and bind; `more` are declared, written and read."""
    return _pattern(_TASKS, queue, *more), _pattern(queue, *more), _pattern(_TASKS, queue, *more)


RABBITMQ_PERMISSIONS: Final[Mapping[str, tuple[str, str, str]]] = {
    "ingest": (
        _pattern(_TASKS, _QUEUES, _ORDERS, _EVENTS),
        _pattern(_TASKS, _QUEUES, _ORDERS, _EVENTS, r"amq\.default"),
        _pattern(_TASKS, r"cloister\.orders"),
    ),
    "trainer": _worker("trainer", _FRAMES, _OWN),
    "paramserver": _worker("paramserver", _FRAMES, _OWN),
    "query-worker": _worker("query"),
}
"""User -> what it may configure, write, read. `amq.default` is the exchange of answers to a sender's own queue."""

_KEYS: Final = "cloister:query"
REDIS_RULES: Final[Mapping[str, str]] = {
    "query": (
        f"%RW~{_KEYS}:questions:* %R~{_KEYS}:answers:* %R~{_KEYS}:proof:* %RW~{_KEYS}:asked %RW~{_KEYS}:submitted:* "
        "+ping +scan +get +zadd +zrem +zcard +zscore +zrevrange +zremrangebyscore +expire +xlen +xadd +xread +xrange "
        "+multi +exec +discard +evalsha +script|load +client|setname"
    ),
    "query-worker": (
        f"~{_KEYS}:* +ping +get +set +del +expire +zrevrange +zremrangebyscore +multi +exec +discard +evalsha "
        "+script|load +xgroup|create +xreadgroup +xclaim +xpending +xadd +xack +xdel +client|id +client|unblock "
        "+client|setname"
    ),
}
"""User -> Redis ACL (redis.io/docs, "ACL"; key permissions %R and %RW: Redis 7)."""

POSTGRES_USER: Final = "cloister"
_SALT_BYTES: Final = 4


def rabbitmq_configuration() -> bytes:
    """rabbitmq.conf: TLS 1.2 and later only, definitions from their file, nothing of it in the log."""
    lines = (
        "listeners.tcp = none",
        "listeners.ssl.default = 5671",
        f"ssl_options.cacertfile = {SECRETS}/authority.pem",
        f"ssl_options.certfile = {SECRETS}/rabbitmq.pem",
        f"ssl_options.keyfile = {SECRETS}/rabbitmq.key",
        "ssl_options.verify = verify_none",  # clients show a password, no certificate
        "ssl_options.versions.1 = tlsv1.3",
        "ssl_options.versions.2 = tlsv1.2",
        f"load_definitions = {SECRETS}/rabbitmq_definitions.json",
        "loopback_users = none",
        "log.console = true",
        "log.console.level = warning",
        "log.connection.level = error",
        "disk_free_limit.absolute = 200MB",
    )
    return "\n".join((*lines, "")).encode()


def rabbitmq_definitions(passwords: Mapping[str, str]) -> bytes:
    """Virtual host, users, permissions. A node that has them makes no `guest` (rabbitmq.com/docs/definitions)."""
    permissions = [
        {"user": user, "vhost": VIRTUAL_HOST, "configure": configure, "write": write, "read": read}
        for user, (configure, write, read) in RABBITMQ_PERMISSIONS.items()
    ]
    users = [
        {
            "name": user,
            "password_hash": rabbitmq_hash(passwords[user], secrets.token_bytes(_SALT_BYTES)),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        }
        for user in RABBITMQ_PERMISSIONS
    ]
    return json.dumps(
        {"vhosts": [{"name": VIRTUAL_HOST}], "users": users, "permissions": permissions}, indent=1
    ).encode()


def rabbitmq_hash(password: str, salt: bytes) -> str:
    """Salt, and SHA-256 over salt and password (rabbitmq.com/docs/passwords)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def redis_configuration(passwords: Mapping[str, str]) -> bytes:
    """redis.conf: nothing on disk (no accepted work depends on it: ARCHITECTURE, decision 2), users of `REDIS_RULES`.

    `health` may say PING, and nothing else, without a password.
    """
    users = [
        f"user {user} on #{hashlib.sha256(passwords[user].encode()).hexdigest()} resetchannels -@all {rules}"
        for user, rules in REDIS_RULES.items()
    ]
    lines = (
        "bind * -::*",
        "port 0",
        "tls-port 6379",
        f"tls-cert-file {SECRETS}/redis.pem",
        f"tls-key-file {SECRETS}/redis.key",
        f"tls-ca-cert-file {SECRETS}/authority.pem",
        "tls-auth-clients no",
        'tls-protocols "TLSv1.2 TLSv1.3"',
        "user default off",
        "user health on nopass resetkeys resetchannels -@all +ping",
        *users,
        'save ""',
        "appendonly no",
        "maxmemory 384mb",
        "maxmemory-policy noeviction",
        "dir /data",
    )
    return "\n".join((*lines, "")).encode()


def postgres_script(password: str) -> bytes:
    """Run once, when the database is made: one user who owns one database, and is nobody else there."""
    return (
        f"CREATE ROLE {POSTGRES_USER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{password}';\n"
        f"CREATE DATABASE {POSTGRES_USER} OWNER {POSTGRES_USER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';\n"
        f"REVOKE ALL ON DATABASE {POSTGRES_USER} FROM PUBLIC;\n"
    ).encode()


def postgres_hosts() -> bytes:
    """pg_hba.conf: over the network that one user, in that one database, with TLS and a password."""
    return f"local all all scram-sha-256\nhostssl {POSTGRES_USER} {POSTGRES_USER} all scram-sha-256\n".encode()
