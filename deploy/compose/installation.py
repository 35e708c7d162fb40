"""Makes what has to be measured where enclaves run, at each `up`, and ends (side: host).

    python -m deploy.compose.installation --published DIRECTORY

In the volume that launching containers share: the simulated platform, a release of this image, settings of launchers.
To DIRECTORY, which clients read: release, list of measured files, trust settings. A release that still fits stays.
"""

import argparse
from pathlib import Path
from typing import Final

from common.enclave.development import launcher_settings, make_development_release
from deploy.compose.settings import INSTALLATION
from deploy.embedded.state import write_private

PUBLIC: Final = ("release.json", "release.files.json", "trust_settings.json")


def install(state: Path, published: Path) -> None:
    """All of it."""
    make_development_release(state)
    write_private(state / "launcher.json", launcher_settings(state).encode())
    for name in PUBLIC:
        write_private(published / name, (state / "release" / name).read_bytes())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.installation")
    parser.add_argument("--published", type=Path, required=True)
    install(Path(INSTALLATION), parser.parse_args().published)


if __name__ == "__main__":
    main()
