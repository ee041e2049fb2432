"""A sweep's tables are those of single replays, whoever replayed them, and however often it was stopped."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ksmbench
from ksmbench import KsmbenchError, UsageError
from ksmbench.comparing import compare
from ksmbench.replaying import replay
from ksmbench.report.sweep import looked_at, ranked
from ksmbench.sweeping import Sweep, executors, running, sweep
from ksmbench.sweeping.executors import WorkerLostError, Workers
from ksmbench.sweeping.point import replay_point
from ksmbench.trace.columns import Trace
from tests.report.synthetic import synthetic_trace

VARY = {"pages_to_scan": [50, 100, 1000], "smart_scan": [0, 1]}
FILES = ["report.html", "report.md", "samples.parquet", "summary.parquet"]


@pytest.fixture(scope="module")
def whole(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep by two processes, never stopped."""
    return sweep(trace, ["ksm-6.18"], VARY, tmp_path_factory.mktemp("whole") / "out", jobs=2)


def assert_same(one: Sweep, other: Sweep) -> None:
    """Every table is the same, bit for bit."""
    for name in ("samples", "summary", "bounds", "defaults", "default_samples", "refused"):
        assert getattr(one, name).equals(getattr(other, name)), name


def files(folder: Path) -> list[str]:
    """What is in it."""
    return sorted(path.name for path in folder.iterdir())


def test_every_row_equals_a_replay_alone(trace: Path, whole: Sweep) -> None:
    assert whole.samples.columns[:4] == ["trace", "design", "settings", "time_ns"]
    assert whole.summary.columns[:5] == ["trace", "design", "settings", "pages_to_scan", "smart_scan"]
    assert whole.summary.height == 6
    for row in whole.summary.iter_rows(named=True):
        alone = replay(trace, pages_to_scan=row["pages_to_scan"], smart_scan=row["smart_scan"])
        assert {name: row[name] for name in alone.summary} == alone.summary
        mine = whole.samples.filter(settings=row["settings"]).drop("trace", "design", "settings")
        assert mine.equals(alone.samples)
    assert whole.summary["on_front"].any()
    assert whole.defaults["settings"].to_list() == [""]


def test_the_folder_holds_the_tables_and_no_journal(whole: Sweep) -> None:
    assert whole.output is not None
    assert files(whole.output) == FILES
    assert files(whole.output.parent) == ["out"]
    assert pl.read_parquet(whole.output / "samples.parquet").equals(whole.samples)
    assert pl.read_parquet(whole.output / "summary.parquet").equals(whole.summary)
    markdown = (whole.output / "report.md").read_text()
    assert "`ksm-6.18,pages_to_scan=100,smart_scan=1` default" in markdown or "front, default" in markdown
    assert "--vary pages_to_scan=50,100,1000 --vary smart_scan=0,1" in markdown
    assert "The default of `ksm-6.18` saves" in markdown


def test_the_named_and_the_default_show_their_last_state(trace: Path, whole: Sweep) -> None:
    assert whole.output is not None
    beside = compare(trace, ["ksm-6.18,pages_to_scan=100,smart_scan=1"], whole.output.with_name("beside"))
    assert whole.sharing == {key: whole.sharing[key] for key in looked_at(whole)}
    assert 1 <= len(whole.sharing) <= 2
    default = next(key for key in whole.sharing if key[2] == "pages_to_scan=100,smart_scan=1")
    assert whole.sharing[default] == next(iter(beside.sharing.values()))
    html, markdown = ((whole.output / f"report.{kind}").read_text() for kind in ("html", "md"))
    for title in ("Who shares with whom", "Yield per mapping", "What sharing is lost"):
        assert f"### {title}" in markdown
    for title in ("What ksmd&#39;s work consists of", "The cliff"):
        assert f"<h3>{title}</h3>" in html
    headline = next(line for line in markdown.splitlines() if line.startswith("**"))
    assert f"`{','.join(next(iter(whole.sharing))[1:])}`" in headline


def test_a_default_beside_the_grid_counts_for_the_front_of_the_page(trace: Path) -> None:
    found = sweep(trace, vary={"pages_to_scan": [50, 1000]}, jobs=2)
    rows = ranked(found, trace.name)
    assert [row["settings"] for row in rows if row.get("is_default")] == [""]
    assert len(rows) == 3
    for row in rows:
        better = [
            other
            for other in rows
            if other["saved_bytes"] >= row["saved_bytes"]
            and other["scan_cost_cpu_share"] <= row["scan_cost_cpu_share"]
            and (other["saved_bytes"], other["scan_cost_cpu_share"]) != (row["saved_bytes"], row["scan_cost_cpu_share"])
        ]
        assert row["on_front"] == (not better)


def test_threads_give_the_same(trace: Path, whole: Sweep) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert_same(sweep(trace, vary=VARY, executor=pool), whole)


def test_a_dask_cluster_gives_the_same(trace: Path, whole: Sweep) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'ksmbench[cluster]'")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    )
    with cluster:
        assert_same(sweep(trace, vary=VARY, dask=cluster.scheduler_address), whole)


def test_without_dask_one_sentence_says_how_to_get_it(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(executors, "import_module", missing)
    with pytest.raises(UsageError, match=r'pip install "ksmbench\[cluster\]"'):
        sweep(trace, vary=VARY, dask="tcp://127.0.0.1:1")


def test_a_stopped_sweep_goes_on_where_it_was(trace: Path, whole: Sweep, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool:
        sweep(trace, vary=VARY, output=tmp_path / "out", executor=pool, progress=stop)
    assert files(tmp_path / "out") == ["unfinished"]
    assert len(list((tmp_path / "out" / "unfinished").glob("*.parquet"))) == 4
    assert len((tmp_path / "out" / "unfinished" / "finished.jsonl").read_text().splitlines()) == 4
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor(1) as pool:
        again = sweep(trace, vary=VARY, output=tmp_path / "out", executor=pool, progress=lambda *of: told.append(of))
    assert told == [(done, 8) for done in range(4, 9)]
    assert_same(again, whole)
    assert files(tmp_path / "out") == FILES


def test_a_replay_that_was_cut_off_is_replayed_again(trace: Path, whole: Sweep, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool:
        sweep(trace, vary=VARY, output=tmp_path / "out", executor=pool, progress=stop)
    torn = next((tmp_path / "out" / "unfinished").glob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:100])
    told: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        again = sweep(
            trace, vary=VARY, output=tmp_path / "out", executor=pool, progress=lambda done, _: told.append(done)
        )
    assert told[0] == 3
    assert_same(again, whole)


def test_another_sweep_is_not_mixed_in(trace: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool:
        sweep(trace, vary={"run": [1, 2]}, output=output, executor=pool, progress=stop)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(UsageError, match="unfinished sweep of other arguments"):
            sweep(trace, vary={"smart_scan": [0]}, output=output, executor=pool)
        assert sweep(trace, vary={"smart_scan": [0]}, output=output, executor=pool, force=True).summary.height == 1
        with pytest.raises(UsageError, match="exists already"):
            sweep(trace, vary={"smart_scan": [0]}, output=output, executor=pool)
    (output / "mine.txt").write_text("not a sweep's")
    with pytest.raises(UsageError, match="is no sweep"):
        sweep(trace, vary={"smart_scan": [0]}, output=output, force=True)


def killing(point: Any, marks: Path) -> Any:
    """Replays; the process that meets a point of 50 pages for the first time dies as by kill -9."""
    if dict(point.task.spec.settings).get("pages_to_scan") == 50:
        try:
            (marks / point.identity).touch(exist_ok=False)
        except FileExistsError:
            return replay_point(point)
        os.kill(os.getpid(), signal.SIGKILL)
    return replay_point(point)


class Between(Workers):
    """Workers that call another function than they are asked to, with one more argument."""

    def __init__(self, n: int, function: Callable[..., Any], *more: Any) -> None:
        super().__init__(n)
        self.function, self.more = function, more
        self.submitted = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        return super().submit(self.function, *args, *self.more, **kwargs)


def test_a_killed_worker_loses_nothing_but_its_replay(trace: Path, whole: Sweep, tmp_path: Path) -> None:
    workers = Between(2, killing, tmp_path)
    try:
        found = sweep(trace, vary=VARY, executor=workers)
        assert len(files(tmp_path)) == 2
        assert workers.submitted == 8 + 2
    finally:
        workers.shutdown(cancel_futures=True)
    assert_same(found, whole)
    assert workers.pids == []


class Losing(ThreadPoolExecutor):
    """Loses its worker at every point with settings."""

    submitted = 0
    loses_all = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        if self.loses_all or args[0].task.spec.settings:
            return super().submit(self.lose)
        return super().submit(function, *args, **kwargs)

    def lose(self) -> None:
        raise WorkerLostError("its worker was killed by signal 9")


def test_what_loses_its_worker_again_and_again_is_reported(trace: Path, tmp_path: Path) -> None:
    vary = {"pages_to_scan": [70]}
    with Losing(1) as pool:
        with pytest.raises(KsmbenchError, match=r"1 of 4 replays failed 3 times.*killed by signal 9") as caught:
            sweep(trace, vary=vary, output=tmp_path / "out", executor=pool)
        assert pool.submitted == 3 + running.TRIES
    assert "\n" not in str(caught.value)
    with ThreadPoolExecutor(1) as pool:
        assert sweep(trace, vary=vary, output=tmp_path / "out", executor=pool).summary.height == 1


def test_workers_that_lose_everything_are_given_up_early(trace: Path) -> None:
    with Losing(1) as pool:
        pool.loses_all = True
        with pytest.raises(KsmbenchError, match=r"no replay ends, as .* killed by signal 9"):
            sweep(trace, vary={"pages_to_scan": range(1, 200)}, executor=pool)
    assert pool.submitted < 202 + running.HOPELESS


def test_a_stopped_pool_ends_its_processes() -> None:
    workers = Workers(1)
    assert workers.submit(os.getppid).result() == os.getpid()
    (pid,) = workers.pids
    waits = workers.submit(signal.pause)
    while not waits.running():
        time.sleep(0.01)
    workers.shutdown(cancel_futures=True)
    with pytest.raises(WorkerLostError):
        waits.result()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_recorded_changes_of_what_is_varied_are_left_out(tuned_trace: Trace) -> None:
    vary = {"pages_to_scan": [100, 300]}
    with ThreadPoolExecutor(1) as pool:
        found = sweep(tuned_trace, vary=vary, executor=pool)
        plain = sweep(tuned_trace, vary=vary, executor=pool, ignore_tune=True)
    keys = ("trace", "design", "settings")
    for pages in (100, 300):
        mine = found.samples.filter(settings=f"pages_to_scan={pages}").drop(keys)
        assert mine.equals(replay(tuned_trace, pages_to_scan=pages, ignore_tune=["pages_to_scan"]).samples)
        assert not mine.equals(replay(tuned_trace, pages_to_scan=pages).samples)
        all_out = plain.samples.filter(settings=f"pages_to_scan={pages}").drop(keys)
        assert all_out.equals(replay(tuned_trace, pages_to_scan=pages, ignore_tune=True).samples)
        assert all_out.equals(
            replay(tuned_trace, pages_to_scan=pages, ignore_tune=["smart_scan", "pages_to_scan"]).samples
        )


def test_what_cannot_be_is_left_out_and_said(trace: Path, tmp_path: Path) -> None:
    vary = {"advisor_mode": [0, 1], "pages_to_scan": [100, 200]}
    with ThreadPoolExecutor(1) as pool:
        found = sweep([trace], vary=vary, output=tmp_path / "out", executor=pool)
        assert found.summary.height == 3
        assert found.refused["settings"].to_list() == ["advisor_mode=1,pages_to_scan=200"]
        assert "1 combination was left out" in (tmp_path / "out" / "report.md").read_text()
        with pytest.raises(UsageError, match="while the advisor does"):
            sweep(trace, vary={"advisor_mode": [1], "pages_to_scan": [200]}, output=tmp_path / "new", executor=pool)


def test_what_is_refused_everywhere_leaves_nothing(trace: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(UsageError, match="until=-1"):
        sweep(trace, vary=VARY, output=tmp_path / "out", executor=pool, until=-1)
    assert files(tmp_path) == []


def test_several_traces_and_designs_with_words() -> None:
    with ThreadPoolExecutor(1) as pool:
        found = ksmbench.sweep(
            [synthetic_trace(2, 100, 3), synthetic_trace(2, 50, 3, seed=2)],
            ["madvise-rfc-2009"],
            {"callbacks": ["none", ["fork", "exit"]]},
            executor=pool,
            sample="end",
        )
    assert found.summary.select("trace", "callbacks").rows() == [
        ("trace-1", "none"),
        ("trace-1", "fork,exit"),
        ("trace-2", "none"),
        ("trace-2", "fork,exit"),
    ]


def test_only_one_place_to_run(trace: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        sweep(trace, vary=VARY, jobs=1, dask="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="jobs=0"):
        sweep(trace, vary=VARY, jobs=0)
