"""Debian's archive read with a private apt: its own list of suites, its own state, the host's mirror and keys.

Nothing of the host's apt changes: lists and packages lie in the cache folder, and packages are unpacked, not installed.
apt checks signatures and hashes as always.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ksmbench.errors import KsmbenchError
from ksmbench.validate.building import cache_folder

# Every suite that may hold a kernel; one that the mirror does not have is left out.
_SUITES = (
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "testing",
    "unstable",
    "experimental",
)
_SECURITY = ("bullseye-security", "bookworm-security", "trixie-security")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FRESH_S = 7 * 86400
# The hooks of the host's desktop tools have nothing to do with this cache.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "packages.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "2";
"""
# How apt prints that it would fetch the index of a suite.
_INRELEASE = re.compile(r"^'(?P<base>\S+?)/dists/(?P<suite>[^/\s]+)/InRelease'", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A package in the archive."""

    name: str
    version: str
    depends: tuple[str, ...]  # names; of alternatives the first


def why_no_apt() -> str | None:
    """What this host lacks for reading Debian's archive, in one sentence, or None."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            return f"kernels come from Debian's archive, and this host has no {tool}"
    if not _KEYRING.exists():
        return f"Debian's keys are missing ({_KEYRING}): apt-get install debian-archive-keyring"
    return None


class PrivateApt:
    """apt over Debian's suites from `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "apt.conf"

    def packages(self, *, newer: bool = False) -> dict[str, Package]:
        """The kernel packages of all suites by name, each with its newest version.

        The lists are fetched when they are older than a week, or, with `newer`, older than an hour.
        """
        with self._locked():
            self._refresh(3600 if newer else _FRESH_S)
            names = self._run("apt-cache", "pkgnames", "linux-").split()
            wanted = [name for name in names if re.match(r"linux-(image|binary|modules|base)-\d.*-amd64$", name)]
            shown = self._run("apt-cache", "show", "--no-all-versions", *wanted, may_fail=True)
        return {package.name: package for package in _stanzas(shown)}

    def download(self, package: Package, to: Path) -> Path:
        """Fetch the file of `package` into the folder `to`."""
        with self._locked():
            self._run("apt-get", "download", f"{package.name}={package.version}", folder=to)
        found = sorted(to.glob(f"{package.name}_*.deb"))
        if not found:
            raise KsmbenchError(f"apt-get downloaded {package.name} {package.version}, but no such file is there")
        return found[-1]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        problem = why_no_apt()
        if problem:
            raise KsmbenchError(problem)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _refresh(self, age_s: float) -> None:
        stamp = self._folder / "fetched"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < age_s:
            return
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._config.write_text(_CONFIG.format(folder=self._folder))
        (self._folder / "sources.list").write_text("\n".join(_sources()) + "\n")
        # A suite that the mirror lacks makes apt-get fail, though it has fetched the others.
        said = self._run("apt-get", "update", may_fail=True)
        lists = list((self._folder / "lists").glob("*_Packages*"))
        if not lists:
            raise KsmbenchError(f"the lists of Debian's suites could not be fetched: {_reason(said)}")
        stamp.touch()

    def _run(self, *command: str, folder: Path | None = None, may_fail: bool = False) -> str:
        tool, *arguments = command
        ran = subprocess.run(
            [tool, "-q", "-c", str(self._config), *arguments],
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
        )
        if ran.returncode != 0 and not may_fail:
            raise KsmbenchError(f"{' '.join(command[:3])} failed: {_reason(ran.stderr)}")
        return ran.stdout + (ran.stderr if tool == "apt-get" else "")


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.startswith(("E:", "Err:", "W:"))]
    return "; ".join(lines[:3]) or "no reason given"


def _stanzas(text: str) -> Iterator[Package]:
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        if "Package" in fields and "Version" in fields:
            needs = [part.split("|")[0].split() for part in fields.get("Depends", "").split(",")]
            yield Package(fields["Package"], fields["Version"], tuple(words[0] for words in needs if words))


def _sources() -> list[str]:
    # The mirrors that the host's own apt uses, whatever form its sources have.
    uris = subprocess.run(["apt-get", "update", "--print-uris"], capture_output=True, text=True).stdout
    bases = {match["suite"]: match["base"] for match in _INRELEASE.finditer(uris)}
    names = tuple(suite.split("-")[0] for suite in _SUITES)
    main = [base for suite, base in bases.items() if suite.startswith((*names, "stable")) and "security" not in suite]
    if not main:
        raise KsmbenchError(
            "kernels come from Debian's archive, and this host's apt has no Debian suite to tell where it is"
        )
    security = [base for suite, base in bases.items() if suite.endswith("-security")]
    options = f"[arch=amd64 target=Packages signed-by={_KEYRING}]"
    lines = [f"deb {options} {main[0]} {suite} main" for suite in _SUITES]
    return lines + [f"deb {options} {base} {suite} main" for base in security[:1] for suite in _SECURITY]


def private_apt() -> PrivateApt:
    """The private apt of this user."""
    return PrivateApt(cache_folder("apt"))
