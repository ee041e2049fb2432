"""The redis server: the host's, or Debian's unpacked into the cache folder and not installed: no service starts."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from workloads.debian_guests.image import cache_folder, run

# The server and those of its libraries that a small Debian lacks.
_PACKAGES = ("redis-server", "redis-tools", "liblzf1", "libjemalloc2", "liblua5.1-0", "lua-cjson", "lua-bitop")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def _unpack(folder: Path) -> None:
    click.echo(f"unpacking Debian's redis-server into {folder}", err=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="redis-") as name:
        Path(name).chmod(0o755)  # a folder that apt's own user may write to
        run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES], cwd=Path(name))
        tree = Path(name) / "tree"
        for package in sorted(Path(name).glob("*.deb")):
            run(["dpkg-deb", "-x", package, tree])
        tree.rename(folder)


def server_command() -> list[str]:
    """The words that start it, for `env`: settings of the environment, then the program."""
    installed = shutil.which("redis-server")
    if installed:
        return ["env", installed]
    folder = cache_folder() / "redis"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        _unpack(folder)
    command = ["env", f"LD_LIBRARY_PATH={folder / _LIBRARIES}", str(folder / "usr/bin/redis-server")]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, env=dict(os.environ))
    if said.returncode:
        raise click.ClickException(
            f"redis-server does not run: {said.stderr.strip()[:200]}; apt-get install redis-server"
        )
    return command
