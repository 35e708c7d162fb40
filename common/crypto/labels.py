"""Every label that separates one use of a key from another, in one table (side: library).

A label names the product, the format version and the use. Two uses never share one. docs/formats.md repeats this table.
"""

from typing import Final

# signatures (Ed25519 over transcript(label, ...))
SIGNED_DOCUMENT: Final = b"cloister/v1/signed-document"
LOG_HEAD_SEEN: Final = b"cloister/v1/log-head-seen"
LAUNCH_STATEMENT: Final = b"cloister/v1/launch-statement"
SESSION_OPEN: Final = b"cloister/v1/session-open"
RECEIPT: Final = b"cloister/v1/receipt"

# digests over transcript(label, ...)
REPORT_DATA: Final = b"cloister/v1/report-data"
BROKER_GENESIS: Final = b"cloister/v1/broker-genesis"
BROKER_SUCCESSION: Final = b"cloister/v1/broker-succession"
HANDOVER_HEIR: Final = b"cloister/v1/handover-heir"
LOG_LEAF: Final = b"cloister/v1/log-leaf"
LOG_TAG: Final = b"cloister/v1/log-tag"
PINNED_TRUST: Final = b"cloister/v1/pinned-trust"
COUNTER_STEP: Final = b"cloister/v1/counter-step"
TPM_ACTIVATION: Final = b"cloister/v1/tpm-activation"
MEASUREMENT: Final = b"cloister/v1/measurement"
SHARE_COMMITMENT: Final = b"cloister/v1/share-commitment"
RECEIPT_SALT: Final = b"cloister/v1/receipt-salt"
RECEIPT_COMMITMENT: Final = b"cloister/v1/receipt-commitment"
COMPILED_DIGEST: Final = b"cloister/v1/compiled-digest"
GPU_NONCE: Final = b"cloister/v1/gpu-nonce"

# HPKE info = transcript(label, ...)
WRAP_DATA_KEY: Final = b"cloister/v1/wrap/data-key"
WRAP_BUNDLE_KEY: Final = b"cloister/v1/wrap/bundle-key"
WRAP_POLICY: Final = b"cloister/v1/wrap/policy"
WRAP_ORDER_SECRET: Final = b"cloister/v1/wrap/order-secret"
WRAP_KEY_GRANT: Final = b"cloister/v1/wrap/key-grant"
WRAP_REPORT: Final = b"cloister/v1/wrap/report"
WRAP_PROVIDER_REPORT: Final = b"cloister/v1/wrap/provider-report"
WRAP_SESSION: Final = b"cloister/v1/wrap/session"
WRAP_OWN_KEY: Final = b"cloister/v1/wrap/own-key"
WRAP_REFUSAL_DETAIL: Final = b"cloister/v1/wrap/refusal-detail"
WRAP_LEDGER: Final = b"cloister/v1/wrap/ledger"
WRAP_REASONS: Final = b"cloister/v1/wrap/reasons"
WRAP_HELD_SHARE: Final = b"cloister/v1/wrap/held-share"
WRAP_GIVEN_SHARE: Final = b"cloister/v1/wrap/given-share"
WRAP_HANDOVER: Final = b"cloister/v1/wrap/handover"

# AEAD keys = HKDF(parent, label, context)
STREAM_KEY: Final = b"cloister/v1/stream-key"
BLOB_KEY: Final = b"cloister/v1/blob-key"
SENDING_KEY: Final = b"cloister/v1/sending-key"
CHECKPOINT_KEY: Final = b"cloister/v1/checkpoint-key"
QUERY_KEY: Final = b"cloister/v1/query-key"
ANSWER_KEY: Final = b"cloister/v1/answer-key"
SESSION_OPENING: Final = b"cloister/v1/session-opening"
SESSION_REPLY: Final = b"cloister/v1/session-reply"
SEALED_STATE: Final = b"cloister/v1/sealed-state"
RECORD_KEYS: Final = b"cloister/v1/record-keys"
RECOVERY_PACKAGE: Final = b"cloister/v1/recovery-package"
RECOVERY_KEYS: Final = b"cloister/v1/recovery-keys"
COMPILED_DESIGN: Final = b"cloister/v1/compiled-design"
PLATFORM_SEALING: Final = b"cloister/v1/platform-sealing"

# keys of HMAC = HKDF(parent, label, context)
REQUEST_KEY: Final = b"cloister/v1/request-key"

# numbers = HKDF(seed, label, context): seeds of generators and a name, not keys
SEED_INITIAL: Final = b"cloister/v1/seed/initial-state"
SEED_STREAM: Final = b"cloister/v1/seed/provider-stream"
SEED_DEVICE: Final = b"cloister/v1/seed/sandbox-device"
SEED_SHUFFLE: Final = b"cloister/v1/seed/shuffle"
SEED_READS: Final = b"cloister/v1/seed/chunk-reads"
SEED_HELD_OUT: Final = b"cloister/v1/seed/held-out-rows"
COMPILED_NAME: Final = b"cloister/v1/compiled-name"

# associated data of AEADs = transcript(label, ...)
FRAME: Final = b"cloister/v1/frame"
