"""`ksmbench workload`: what it lists and runs, what it refuses, and that a wheel has the workloads."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import pytest

import ksmbench
from ksmbench.recipes import KINDS, arguments, find, parse, recipes, root
from tests.commands.running import assert_one_line_mistake, run

ROOT = Path(__file__).parents[2]


def test_every_folder_of_a_workload_says_what_it_is() -> None:
    folders = {path.parent for path in (ROOT / "workloads").glob("*/__main__.py")}
    reports = {ROOT / "workloads" / "prefork_report"}  # makes no trace, but a report of some
    assert {recipe.folder for recipe in recipes().values()} == folders - reports
    assert all((folder / "README.md").is_file() for folder in folders)
    for recipe in recipes().values():
        assert (recipe.folder / "README.md").read_text().startswith("# ")
        assert (recipe.folder / "capture.toml").exists() == (recipe.kind == "real")
        assert recipe.kind in KINDS
        assert recipe.title
        assert recipe.stands_for.endswith(".")
        assert recipe.seconds > 0
        if recipe.kind == "real":
            assert recipe.settings["duration"] > 0  # type: ignore[operator]
            assert recipe.settings["interval"] > 0  # type: ignore[operator]


def test_the_list_shows_them_all() -> None:
    text, rows = run("workload", "list").stdout, json.loads(run("workload", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(recipes())
    for row in rows:
        assert f"\n{row['name']} " in text
        assert row["title"] in text
        assert Path(row["readme"]).is_file()


def test_a_synthetic_one_is_made_from_its_seed(tmp_path: Path) -> None:
    small = ["--set", "pages=500", "--set", "seconds=5"]
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        done = run("workload", "run", "synthetic", "-o", tmp_path / name, *small, "--seed", seed)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{tmp_path / name}: ")
    files = {name: [f.read_bytes() for f in sorted((tmp_path / name).iterdir())] for name in ("one", "same", "other")}
    assert files["one"] == files["same"] != files["other"]
    assert ksmbench.open_trace(tmp_path / "one").manifest["synthetic"]["pages"] == 500


@pytest.mark.parametrize("name", ["review-unmodified", "closed-form", "review-directed"])
def test_older_ones_are_run_by_it_too(name: str, tmp_path: Path) -> None:
    given = {"closed-form": ["--set", "form=ksm06", "--set", "pages=10"]}.get(name, [])
    assert run("workload", "run", name, "-o", tmp_path / "t", *given).returncode == 0
    ksmbench.open_trace(tmp_path / "t")


def test_settings_of_a_real_one_become_options() -> None:
    recipe = find("prefork-server")
    settings = parse(recipe, ("duration=30", "interval=0.5"), None)
    assert arguments(recipe, Path("t"), settings, True) == [
        *("-o", "t", "--force", "--duration", "30.0", "--interval", "0.5")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prefrok-server"], "did you mean prefork-server?"),
        (["nothing-like-it"], "`ksmbench workload list` shows them"),
        (["synthetic", "--set", "pagse=3"], "did you mean pages?"),
        (["synthetic", "--set", "pages=many"], "pages of synthetic is an integer"),
        (["synthetic", "--set", "pages"], "write NAME=VALUE"),
        (["synthetic", "--set", "zero=1.5"], "it must be 0 to 1"),
        (["synthetic", "--set", "pages=2000000000"], "at most 50,000,000"),
        (["synthetic", "--set", "children=9", "--set", "generations=9"], "at most 100,000"),
        (["prefork-server", "--seed", "3"], "has no seed"),
        (["prefork-server", "--set", "workers=3"], "has no setting workers"),
        (["sparse-terabyte", "--set", "span=10", "--set", "present=11"], "the mapping has 10 pages"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = run("workload", "run", *arguments, "-o", tmp_path / "t")
    assert_one_line_mistake(done)
    assert told in done.stderr
    assert not (tmp_path / "t").exists()


def test_nothing_is_replaced_without_being_told_to(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for name in ("synthetic", "prefork-server"):
        done = run("workload", "run", name, "-o", tmp_path / "t")
        assert_one_line_mistake(done)
        assert "exists already" in done.stderr


@pytest.mark.parametrize(
    ("name", "told"), [("prefork-server", "needs root"), ("debian-idle-x4", "needs root"), ("redis", "apt-get install")]
)
def test_what_a_host_lacks_is_said_with_the_way_to_get_it(name: str, told: str, tmp_path: Path) -> None:
    if name == "redis":
        from ksmbench.recipes import _lacking

        with mock.patch("shutil.which", return_value=None):
            assert told in str(_lacking("redis-server"))
            assert told in str(_lacking("qemu"))
        return
    with mock.patch.object(os, "geteuid", return_value=1000):
        done = run("workload", "run", name, "-o", tmp_path / "t")
    assert_one_line_mistake(done)
    assert told in done.stderr


def test_a_module_says_its_mistakes_in_one_sentence_too(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "workloads.synthetic", "-o", str(tmp_path / "t"), "--set", "pagse=3"]
    done = subprocess.run(words, cwd=root(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: synthetic has no setting pagse; did you mean pages?\n"


def test_a_wheel_has_the_workloads(tmp_path: Path) -> None:
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "ksmbench",
            "workloads",
            "setup.py",
            "MANIFEST.in",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("no checkout of git")
    for name in listed.stdout.split():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "wheel")]
    built = subprocess.run([*pip, str(tmp_path / "source")], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"pip builds no wheel here: {built.stderr[-300:]}")
    [wheel] = (tmp_path / "wheel").iterdir()
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "from ksmbench.cli import main; import ksmbench, sys; sys.argv = ['ksmbench', *sys.argv[1:]]; main()"
    words = [sys.executable, "-c", code, "workload", "run", "many-copies", "-o", str(tmp_path / "t")]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ksmbench.open_trace(tmp_path / "t").manifest["label"] == "many-copies"
    names = zipfile.ZipFile(wheel).namelist()
    assert "ksmbench/_shipped/workloads/debian_guests/guest/load-web" in names
