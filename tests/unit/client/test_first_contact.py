"""What a user's first contact costs is verifying: validators and modules were made when the client was imported."""

import json
import subprocess
import sys
from pathlib import Path

from client.measuring import CODE_ROOT
from tests.fakes.query_world import QueryWorld

PROGRAM = """
import json, sys, time
from client.query_session import QueryPins, verify_query_enclave
from common.dcap import NO_PLATFORM_RULES
from common.enclave.trust_settings import TrustSettings
from common.messages.placement import QueryEnclaveProof
from common.messages.evidence import TrustLevel
from common.messages.policy import QueryGrant
from common.messages.signed import Signed
from pydantic import BaseModel

told, made, known = json.loads(sys.stdin.read()), [], set(sys.modules)
rebuild = BaseModel.model_rebuild.__func__

def counted(cls, **how):
    if not cls.__pydantic_complete__:
        made.append(cls.__name__)
    return rebuild(cls, **how)

BaseModel.model_rebuild = classmethod(counted)
trust = TrustSettings.model_validate_json(told["trust"])
pins = QueryPins(Signed.decode(told["release"].encode()), trust, TrustLevel.SIMULATION, NO_PLATFORM_RULES)
grant = QueryGrant.decode(Signed.decode(told["grant"].encode()).payload)
verify_query_enclave(QueryEnclaveProof.decode(told["proof"].encode()), grant, pins, int(time.time()))
print(json.dumps([made, sorted(set(sys.modules) - known)]))
"""


def test_nothing_is_made_or_imported_at_the_first_verification(tmp_path: Path) -> None:
    world = QueryWorld(tmp_path)
    documents = {"proof": world.launch().proof, "grant": world.grant(), "release": world.release, "trust": world.trust}
    told = json.dumps({name: one.encode().decode() for name, one in documents.items()})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=told, cwd=CODE_ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[], []]
