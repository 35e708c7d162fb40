"""A key broker whose only witness is a real one, over the attestation service's paths (side: library)."""

from pathlib import Path

from client.witness_memory import WitnessMemory
from client.witnessing import Witness
from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.errors import UnavailableError
from common.messages.evidence import Collateral
from common.messages.log_heads import LogHead
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import BrokerWorld, MemoryStore
from tests.fakes.served_log import get_log, post_log


class Served:
    """The attestation service's paths over a broker in this process; `key` signs what is asked of its log.

    `asked` are the requests to the broker, `paths` those of all requests; `collateral` is for quotes that carry none.
    """

    def __init__(self, world: BrokerWorld, key: SigningKey | None = None) -> None:
        self.world, self.release, self.down = world, world.release, False
        self._key = key or SigningKey.generate()
        self.asked: list[bytes] = []
        self.paths: list[str] = []
        self.collateral: Collateral | None = None

    def get(self, path: str) -> bytes:
        self.paths.append(path)
        if path.startswith("/v1/collateral/"):
            if self.collateral is None:
                raise UnavailableError("unavailable.collateral")
            return self.collateral.encode()
        return self.release.encode() if path == "/v1/release" else get_log(self.world, path)

    def post(self, path: str, body: bytes) -> bytes:
        if self.down:
            raise UnavailableError("unavailable.service")
        self.asked.append(body)
        self.paths.append(path)
        if path == "/v1/log/next":
            return post_log(self.world, self._key, path, body)
        assert path == "/v1/broker"
        return self.world.handle(body)


class Watched:
    """A broker whose only witness is this one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = Identity.generate("witness", unsafe_simulation=True)
        self.world = BrokerWorld(directory)
        self.world.rule = WitnessRule((self.identity.signing_key.party,), 1)
        self.world.restart(MemoryStore())
        self.service = Served(self.world, self.identity.signing_key)
        self.witness = self.again()

    def now(self) -> float:
        return self.world.time

    def again(self) -> Witness:
        """The witness's process, started anew."""
        return Witness(
            self.identity, self.world.trust, self.service, self.directory / "witness.json", self.now, lambda _: None
        )

    @property
    def remembered(self) -> LogHead:
        return WitnessMemory.decode((self.directory / "witness.json").read_bytes()).head
