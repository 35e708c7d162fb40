# mypy: ignore-errors
"""Files of a bundle that something might run or read by itself (side: sandbox). Tests add them to the bundle.

Each says that it ran. Nothing of them may: start-up looks at no folder of the bundle, and its modules are loaded first.
"""

import builtins

NOTE = "cloister_poisoned"
SOURCE = f"""import builtins
builtins.__dict__.setdefault({NOTE!r}, set()).add(__name__)
"""
FILES = {
    "poison_startup": "sitecustomize.py",
    "poison_user_startup": "usercustomize.py",
    "poison_torch": "torch.py",
    "poison_numpy": "numpy/__init__.py",
    "poison_own_code": "common/__init__.py",
    "poison_path_file": "poison.pth",
    "poison_pickle": "weights.pkl",
}
NAMES = tuple(FILES)


def content(name: str) -> bytes:
    if name == "poison_path_file":
        return f"import builtins; builtins.__dict__.setdefault({NOTE!r}, set()).add('pth')\n".encode()
    if name == "poison_pickle":
        return f'cbuiltins\nexec\n(S"{SOURCE.splitlines()[1]}"\ntR.'.encode()
    return SOURCE.encode()


def ran() -> list[float]:
    """For each of `NAMES` whether it ran."""
    modules = ("sitecustomize", "usercustomize", "torch", "numpy", "common", "pth", "builtins")
    seen = builtins.__dict__.get(NOTE, set())
    return [float(module in seen) for module in modules]
