"""Puts `workloads/` into wheels as `ksmbench/_shipped/workloads`; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithWorkloads(build_py):
    """An installed ksmbench has the workloads too; an editable one finds them where they are."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            shipped = Path(self.build_lib) / "ksmbench" / "_shipped" / "workloads"
            shutil.copytree("workloads", shipped, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithWorkloads})
