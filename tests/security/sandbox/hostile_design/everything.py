"""One component for all tests of Python in the `wasm` sandbox: the examples, and deeds that a sandbox must bear.

The name of the first column says which: building and compiling take long enough once.
"""

import importlib
import os
import random
import socket
import sys
import threading
import time

import auto_cnn
import tabular_mlp
import template


def grow():
    held = []
    while True:
        held.append(bytearray(1 << 20))


def deep(level=0):
    return deep(level + 1)


def loop():
    while True:
        pass


def speak():
    print("patient-4711 on stdout", flush=True)
    sys.stderr.write("patient-4711 on stderr")
    sys.stderr.flush()


def tell():
    raise ValueError("patient-4711 is ill")


DEEDS = {
    "clock": time.time,
    "monotonic": time.monotonic,
    "sleep": lambda: time.sleep(0.01),
    "entropy": lambda: os.urandom(8),
    "open": lambda: open("/etc/passwd").read(),
    "write": lambda: open("/left-behind", "w").write("x"),
    "list": lambda: os.listdir("/"),
    "socket": lambda: socket.socket().connect(("127.0.0.1", 80)),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "thread": lambda: threading.Thread(target=loop).start(),
    "process": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "environment": lambda: os.environ["HOME"],
    "late import": lambda: importlib.import_module("wave"),
    "leave": lambda: os._exit(3),
    "speak": speak,
    "grow": grow,
    "recursion": deep,
    "loop": loop,
    "exception": tell,
}


class Everything:
    def __init__(self):
        self.one = None
        self.calls = 0

    def design(self, profile):
        name = profile.columns[0].name
        if name in DEEDS:
            return str(DEEDS[name]())
        if name == "told":
            return f"{random.random()} {hash('a')} {id(self)} {sorted({'x', 'y', 'z'}, key=hash)}"
        self.one = {"features": tabular_mlp.TabularMlp, "image": auto_cnn.AutoCnn, "template": template.Model}[name]()
        return self.one.design(profile)

    def after_epoch(self, metrics):
        self.calls += 1
        if metrics.epoch == 1000:
            return {"learning_rate": float(self.calls)}
        if metrics.epoch == 1001:
            return {"weights": 1.0}
        return self.one.after_epoch(metrics)
