"""axe-core, the checker of accessibility, from the npm registry: fetched once, and kept among pytest's own files."""

import shutil
import subprocess
import tarfile
from pathlib import Path

VERSION = "4.14.1"
_WITHIN = 60  # seconds


def axe_script(cache: Path) -> str | None:
    """The script, which defines `axe` in a page; None where it cannot be had."""
    kept = cache / f"axe-{VERSION}.min.js"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            return None
        command = [npm, "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(cache)]
        try:
            subprocess.run(command, cwd=cache, capture_output=True, check=True, timeout=_WITHIN)
            with tarfile.open(cache / f"axe-core-{VERSION}.tgz") as packed:
                member = packed.extractfile("package/axe.min.js")
                assert member is not None
                kept.write_bytes(member.read())
        except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError):
            return None
    return kept.read_text(encoding="utf-8")
