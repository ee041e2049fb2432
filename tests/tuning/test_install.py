"""Files to install: their stores in an order that the kernel takes."""

import subprocess

from ksmbench.tuning.install import files

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
    stores = [line.split()[1].rsplit("/", 1)[1:] + line.split()[-1:] for line in made["ksm.conf"].splitlines()[2:]]
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
    assert not any(line.startswith(" ") for line in conf.splitlines())


def test_the_advisor_keeps_pages_to_scan_to_itself() -> None:
    made = files(SETTINGS | {"advisor_mode": 1}, "about", 32 << 30)
    assert set(made) == {"ksm.conf", "ksm.sh"}
    names = [line.split()[1].rsplit("/", 1)[1] for line in made["ksm.conf"].splitlines()[2:]]
    assert names == ["sleep_millisecs", "smart_scan", "max_page_sharing", "advisor_max_cpu", "advisor_mode", "run"]
    assert "scan-time" in made["ksm.conf"]


def test_the_shell_script_is_one_and_unmerges_only_where_it_must() -> None:
    script = files(SETTINGS, "about", 0)["ksm.sh"]
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert script.count("echo 2 > run") == 1
    assert script.rstrip().endswith("echo 1 > run")
    assert "ksmtuned.conf" not in files(SETTINGS, "about", 0)
