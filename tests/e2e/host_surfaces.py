"""Everywhere a host can look while a stack works, and a way to plant a leak in each place (side: host).

Out of scope, because the protocol does not promise it: memory of enclaves and of their sandboxes, and the parties' own
directories.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pika
from redis import Redis

from deploy.embedded.stack import EmbeddedStack
from tests.e2e.command_tap import CommandTap, stored_values
from tests.e2e.file_watch import FileWatch, below, new_in, top_of
from tests.e2e.message_tap import MessageTap
from tests.e2e.process_watch import ProcessWatch

_WAITS: Final = "import sys; sys.stdin.read()"
_TEMPORARY: Final = tuple(path for path in map(Path, ("/tmp", "/var/tmp", "/dev/shm")) if path.is_dir())
_CORE_FILES: Final = Path("/var/lib/systemd/coredump")
_OWN_FOLDERS: Final = {
    "logs": "logs",
    "settings files": "settings",
    "Redis's files": "redis",
    "RabbitMQ's files": "rabbitmq",
    "object store": "objects",
    "registry's files": "registry",
}
_OTHER_FILES: Final = "other files of the stack"
_TEMPORARY_FILES: Final = "new files in temporary directories"
_CORES: Final = "working directories, where core files fall"

Places = Iterable[tuple[str, bytes]]
Plant = Callable[[bytes], AbstractContextManager[None]]


@dataclass(frozen=True)
class Surface:
    """`look` gives all that was seen so far, with the place of each; `plant` puts a leak there for a while."""

    name: str
    look: Callable[[], Places]
    plant: Plant


@dataclass(frozen=True)
class Host:
    """The operator of one stack, with all taps open."""

    stack: EmbeddedStack
    messages: MessageTap
    commands: CommandTap
    processes: ProcessWatch
    files: FileWatch

    @classmethod
    @contextlib.contextmanager
    def watching(cls, stack: EmbeddedStack, parties: Path) -> Iterator["Host"]:
        """Look from now on, until the end of the block. Below `parties` lie the parties' own directories."""
        guardian = stack.status().guardian_pid
        if guardian is None:
            raise RuntimeError("the stack is down")
        with ProcessWatch.open(guardian) as processes:
            groups = {name: below(stack.state.root / folder) for name, folder in _OWN_FOLDERS.items()}
            groups[_OTHER_FILES] = below(stack.state.root, without=set(_OWN_FOLDERS.values()))
            groups[_TEMPORARY_FILES] = new_in(_TEMPORARY, time.time(), parties)
            groups[_CORES] = top_of(lambda: (*processes.directories, _CORE_FILES))
            with (
                MessageTap.open(stack) as messages,
                CommandTap.open(stack.redis_url) as commands,
                FileWatch.open(groups) as files,
            ):
                yield cls(stack, messages, commands, processes, files)

    def surfaces(self) -> list[Surface]:
        """Every surface."""
        root, url = self.stack.state.root, self.stack.redis_url
        folders = dict.fromkeys(_OWN_FOLDERS) | {_OTHER_FILES: None}
        planted = {name: _file_in(root / _OWN_FOLDERS.get(name, "ingest")) for name in folders} | {
            _TEMPORARY_FILES: _file_in(_TEMPORARY[0]),
            "registry's files": _row_in(root / "registry" / "registry.sqlite"),
            "Redis's files": _value_in(url),
            "RabbitMQ's files": _stored_message_in(self.stack.amqp_url),
            _CORES: self._process(cwd=True),
        }
        live = (
            Surface("RabbitMQ's messages", self._published, _message_in(self.stack.amqp_url)),
            Surface("Redis's commands", lambda: [("MONITOR", one) for one in self.commands.commands()], _echo_in(url)),
            Surface("Redis's values", lambda: stored_values(url), _value_in(url)),
            Surface("command lines", self.processes.command_lines, self._process(argument=True)),
            Surface("environments", self.processes.environments, self._process(variable=True)),
            Surface("open files", self.processes.open_files, self._process(deleted=True)),
        )
        return [*live, *(Surface(name, self._look_at(name), plant) for name, plant in planted.items())]

    def _look_at(self, group: str) -> Callable[[], Places]:
        return lambda: self.files.contents(group)

    def _published(self) -> Places:
        for one in self.messages.messages():
            yield f"{one.exchange}/{one.key}", one.properties + one.body

    def _process(
        self, *, argument: bool = False, variable: bool = False, deleted: bool = False, cwd: bool = False
    ) -> Plant:
        """A process of the host that has the leak in its arguments, environment, an open file, or where it works."""

        @contextlib.contextmanager
        def plant(leak: bytes) -> Iterator[None]:
            text = leak.replace(b"\0", b"")
            with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile() as file:
                file.write(leak if deleted else b"")
                file.flush()
                if cwd:
                    Path(place, "core.1").write_bytes(leak)
                process = subprocess.Popen(
                    [os.fsencode(sys.executable), b"-c", _WAITS.encode(), *([text] if argument else [])],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    env={b"SPOKEN": text} if variable else {},
                    cwd=place,
                )
                self.processes.add(process.pid)
                self.processes.sample()
                yield
                process.communicate()

        return plant


def _file_in(directory: Path) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            file.write(leak)
            file.flush()
            yield

    return plant


def _row_in(database: Path) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(database, timeout=20, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE spoken (word BLOB)")
            try:
                connection.execute("INSERT INTO spoken VALUES (?)", (leak,))
                yield
            finally:
                connection.execute("DROP TABLE spoken")

    return plant


def _value_in(url: str) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with contextlib.closing(Redis.from_url(url)) as redis:
            redis.set("spoken", leak)
            try:
                yield
            finally:
                redis.delete("spoken")

    return plant


def _echo_in(url: str) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with contextlib.closing(Redis.from_url(url)) as redis:
            redis.echo(leak)
            yield

    return plant


def _message_in(url: str) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            connection.channel().basic_publish("cloister.events", "job.spoken", leak)
            yield

    return plant


def _stored_message_in(url: str) -> Plant:
    @contextlib.contextmanager
    def plant(leak: bytes) -> Iterator[None]:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("spoken", durable=True)
            try:
                channel.basic_publish("", "spoken", leak, pika.BasicProperties(delivery_mode=2))
                yield
            finally:
                channel.queue_delete("spoken")

    return plant
