"""Tables of the job board and of the registry: public values and ciphertext only (side: host).

Times are Unix seconds. Identifiers are stored as text. A job's number is its place in the order of acceptance.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA: Final = MetaData()

_Name = String(80)
_Number = BigInteger().with_variant(Integer, "sqlite")

write_lock = Table("write_lock", METADATA, Column("name", _Name, primary_key=True))

# -- the job board

jobs = Table(
    "jobs",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("job_id", _Name, nullable=False, unique=True),
    Column("order", LargeBinary, nullable=False),
    Column("trainers", Integer, nullable=False),
    Column("not_after", _Number, nullable=False),
    Column("trust_level", _Name, nullable=False),
    Column("state", _Name, nullable=False, index=True),
    Column("code", _Name),
    Column("accepted_at", Float, nullable=False),
    Column("ended_at", Float),
)

job_owners = Table(
    "job_owners",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("party", _Name, primary_key=True, index=True),
)

slots = Table(
    "slots",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("role", _Name, primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("state", _Name, nullable=False),
    Column("claims", Integer, nullable=False, default=0),
    Column("worker", _Name),
    Column("lease_until", Float),
    Column("ready_at", Float, nullable=False, default=0.0),
    Column("sent_at", Float),
    Index("slots_by_state", "state"),
)

workers = Table(
    "workers",
    METADATA,
    Column("worker", _Name, primary_key=True),
    Column("role", _Name, primary_key=True),
    Column("capacity", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
)

machines = Table(
    "machines",
    METADATA,
    Column("worker", _Name, primary_key=True),
    Column("cores", Integer, nullable=False),
    Column("reference_microseconds", _Number, nullable=False),
)

reports = Table(
    "reports",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("party", _Name, primary_key=True),
    Column("sequence", _Number, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

provider_reports = Table(
    "provider_reports",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("party", _Name, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("root", _Name, nullable=False),
)

frame_routes = Table(
    "frame_routes",
    METADATA,
    Column("job_id", _Name, ForeignKey("jobs.job_id"), primary_key=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("token", LargeBinary, nullable=False),
)

models = Table(
    "models",
    METADATA,
    Column("model_id", _Name, primary_key=True),
    Column("job_id", _Name, ForeignKey("jobs.job_id"), nullable=False, unique=True),
    Column("manifest", LargeBinary, nullable=False),
    Column("root", _Name, nullable=False, index=True),
    Column("announced", Boolean, nullable=False, default=False),
)

job_events = Table(
    "job_events",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("job_id", _Name, ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("time", Float, nullable=False),
    Column("kind", _Name, nullable=False),
    Column("fields", Text, nullable=False),
    Column("published", Boolean, nullable=False, default=False, index=True),
)

# -- the registry

identities = Table(
    "identities",
    METADATA,
    Column("party", _Name, primary_key=True),
    Column("enrolled_at", Float, nullable=False),
    Column("quota_bytes", _Number, nullable=False),
)

withdrawn = Table(
    "withdrawn_identities",
    METADATA,
    Column("party", _Name, ForeignKey("identities.party"), primary_key=True),
    Column("final", Boolean, nullable=False),
    Column("withdrawn_at", Float, nullable=False),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("upload_id", _Name, primary_key=True),
    Column("party", _Name, ForeignKey("identities.party"), nullable=False, index=True),
    Column("root", _Name, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("chunk_digests", LargeBinary, nullable=False),
    Column("bytes", _Number, nullable=False),
    Column("delivered", Boolean, nullable=False, default=False),
    Column("completed", Boolean, nullable=False, default=False),
    Column("begun_at", Float, nullable=False),
)

objects = Table(
    "objects",
    METADATA,
    Column("root", _Name, primary_key=True),
    Column("party", _Name, ForeignKey("identities.party"), primary_key=True, index=True),
    Column("kind", Integer, nullable=False),
    Column("chunk_count", Integer, nullable=False),
    Column("bytes", _Number, nullable=False),
)

datasets = Table(
    "datasets",
    METADATA,
    Column("dataset_id", _Name, primary_key=True),
    Column("party", _Name, ForeignKey("identities.party"), nullable=False, index=True),
    Column("manifest", LargeBinary, nullable=False),
    Column("reply", LargeBinary, nullable=False),
    Column("registered_at", Float, nullable=False),
)

bundles = Table(
    "bundles",
    METADATA,
    Column("bundle_id", _Name, primary_key=True),
    Column("party", _Name, ForeignKey("identities.party"), nullable=False, index=True),
    Column("publication", LargeBinary, nullable=False),
    Column("reply", LargeBinary, nullable=False),
    Column("registered_at", Float, nullable=False),
)
