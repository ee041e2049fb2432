"""Files to install: their stores in an order that the kernel takes, and what they do to a host."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ksmbench.tuning.install import FOLDER, files
from ksmbench.validate.sysfs import KsmSession, read, store
from tests.kernel.needs import needs_kernel

SETTINGS: dict[str, int | str] = {
    "pages_to_scan": 400,
    "sleep_millisecs": 20,
    "smart_scan": 1,
    "max_page_sharing": 1024,
    "advisor_mode": 0,
    "advisor_max_cpu": 70,
}


def test_the_pace_set_by_hand() -> None:
    made = files(SETTINGS, "about", 32 << 30)
    stores = [line.split()[1].rsplit("/", 1)[1:] + line.split()[-1:] for line in _lines(made["ksm.conf"])]
    assert stores == [
        ["advisor_mode", "none"],
        ["pages_to_scan", "400"],
        ["sleep_millisecs", "20"],
        ["smart_scan", "1"],
        ["max_page_sharing", "1024"],
        ["run", "1"],
    ]
    conf = made["ksmtuned.conf"]
    assert "KSM_NPAGES_MIN=400\nKSM_NPAGES_MAX=400\n" in conf
    assert "KSM_SLEEP_MSEC=40\n" in conf  # ksmtuned scales it to 16 GiB: 40 * 16 / 32 = 20
    assert "a sleep of 20 ms on this host of 32.0 GiB\n" in conf
    assert not any(line.startswith(" ") for line in conf.splitlines())


def test_the_advisor_keeps_pages_to_scan_to_itself() -> None:
    made = files(SETTINGS | {"advisor_mode": 1}, "about", 32 << 30)
    assert set(made) == {"ksm.conf", "ksm.sh"}
    names = [line.split()[1].rsplit("/", 1)[1] for line in _lines(made["ksm.conf"])]
    assert names == ["sleep_millisecs", "smart_scan", "max_page_sharing", "advisor_max_cpu", "advisor_mode", "run"]
    assert "scan-time" in made["ksm.conf"]


def _lines(conf: str) -> list[str]:
    return [line for line in conf.splitlines() if not line.startswith("#")]


def test_ksmtuned_says_the_sleep_that_it_comes_to() -> None:
    # It computes KSM_SLEEP_MSEC * 16 GiB / memory in whole milliseconds, and takes 10 at least.
    conf = files(SETTINGS | {"sleep_millisecs": 10}, "about", 4 << 30)["ksmtuned.conf"]
    assert "KSM_SLEEP_MSEC=3\n" in conf
    assert "a sleep of 12 ms on this host of 4.0 GiB instead of 10 ms" in conf
    assert "ksmtuned.conf" not in files(SETTINGS | {"sleep_millisecs": 5}, "about", 64 << 30)
    assert "ksmtuned.conf" not in files(SETTINGS, "about", 0)


def test_what_is_told_stays_a_comment() -> None:
    for text in files(SETTINGS, "a trace called\nreboot", 32 << 30).values():
        assert "# a trace called reboot\n" in text


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with the kernel's files as they are after boot."""
    folder = tmp_path / "ksm"
    folder.mkdir()
    found = {"pages_to_scan": 100, "sleep_millisecs": 20, "smart_scan": 1, "max_page_sharing": 256, "run": 0}
    for name, value in {**found, "advisor_mode": "[none] scan-time", "pages_sharing": 0, "ksm_zero_pages": 0}.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def _run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = text.replace(FOLDER, str(folder))
    return subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False)


def _values(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in folder.iterdir()}


def test_the_script_stores_everything(host: Path) -> None:
    done = _run(files(SETTINGS, "about", 0)["ksm.sh"], host)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    values = _values(host)
    assert (values["pages_to_scan"], values["max_page_sharing"], values["run"]) == ("400", "1024", "1")
    assert values["advisor_mode"] == "none"


def test_the_script_unmerges_only_where_the_setting_differs(host: Path) -> None:
    (host / "pages_sharing").write_text(f"{1 << 40}\n")  # more than any host has
    before = _values(host)
    done = _run(files(SETTINGS, "about", 0)["ksm.sh"], host)
    assert done.returncode == 1
    assert "max_page_sharing needs all pages unmerged" in done.stderr
    assert _values(host) == before
    (host / "max_page_sharing").write_text("1024\n")
    assert _run(files(SETTINGS, "about", 0)["ksm.sh"], host).returncode == 0


def test_the_script_stores_nothing_where_the_kernel_lacks_a_setting(host: Path) -> None:
    (host / "advisor_mode").unlink()
    before = _values(host)
    done = _run(files(SETTINGS, "about", 0)["ksm.sh"], host)
    assert done.returncode == 1
    assert "advisor_mode cannot be written" in done.stderr
    assert _values(host) == before


@needs_kernel
@pytest.mark.parametrize("advised", [0, 1])
def test_the_kernel_takes_every_store_from_any_state(tmp_path: Path, advised: int) -> None:
    wanted = SETTINGS | {"advisor_mode": advised, "advisor_target_scan_time": 100, "merge_across_nodes": 1}
    made = files(wanted, "about", 0)
    expected = {name: str(value) for name, value in wanted.items() if advised or not name.startswith("advisor_")}
    expected |= {"advisor_mode": ["none", "scan-time"][advised], "run": "1"}
    if advised:
        del expected["pages_to_scan"]
    other = files(SETTINGS | {"advisor_mode": 1 - advised, "max_page_sharing": 256}, "about", 0)["ksm.sh"]
    with KsmSession():
        for _ in range(2):  # also over what it stored itself
            done = subprocess.run(["sh"], input=made["ksm.sh"], text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert {name: read(name) for name in expected} == expected
        if shutil.which("systemd-tmpfiles") is None:
            return
        subprocess.run(["sh"], input=other, text=True, check=True)
        (tmp_path / "ksm.conf").write_text(made["ksm.conf"])
        command = ["systemd-tmpfiles", "--create", "--boot", tmp_path / "ksm.conf"]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert {name: read(name) for name in expected} == expected


_MERGEABLE = """
import mmap, time
memory = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_MERGEABLE)
memory.write(b"x" * (1 << 20))
print(flush=True)
time.sleep(60)
"""


@needs_kernel
def test_the_script_unmerges_on_a_host_with_merged_pages(tmp_path: Path) -> None:
    made = files(SETTINGS | {"max_page_sharing": 512}, "about", 0)
    with KsmSession(), subprocess.Popen([sys.executable, "-c", _MERGEABLE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for name, value in (("max_page_sharing", 256), ("sleep_millisecs", 1), ("pages_to_scan", 1000), ("run", 1)):
            store(name, value)
        while read("pages_sharing") == "0":
            time.sleep(0.05)
        with pytest.raises(OSError, match="busy"):  # so a file for boot cannot do it now
            store("max_page_sharing", 512)
        done = subprocess.run(["sh"], input=made["ksm.sh"], text=True, capture_output=True, check=False)
        process.kill()
        assert (done.returncode, done.stderr) == (0, "")
        assert (read("max_page_sharing"), read("run")) == ("512", "1")
