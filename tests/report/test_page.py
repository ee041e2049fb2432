"""The report names every design, needs no network, and stands missing numbers."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from markupsafe import escape

from ksmbench.comparing import compare
from ksmbench.metrics.summary import METRICS
from ksmbench.report.curves import MAX_POINTS, curves
from ksmbench.report.detail import work_rows
from ksmbench.report.page import command, render
from ksmbench.report.table import COLUMNS
from ksmbench.result import Comparison
from tests.report.conftest import DESIGNS
from tests.report.synthetic import synthetic_trace


class Elements(HTMLParser):
    """The tags with their attributes, and the texts of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def specs_of(html: str) -> list[dict[str, object]]:
    """The plots' specifications."""
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_the_page_is_whole_and_names_everything(report: Path) -> None:
    html, markdown = (report / "report.html").read_text(), (report / "report.md").read_text()
    elements = Elements(html)
    assert elements.open == []
    assert len([1 for tag, attributes in elements.tags if "plot-" in (attributes.get("id") or "")]) == 10
    assert len(specs_of(html)) == 10
    figures = ("Burndown", "Saved, net", "What ksmd's work consists of", "How long sharing lasts", "The cliff")
    for title in (*figures, "Who shares with whom", "Yield per mapping", "What sharing is lost"):
        assert f">{escape(title)}</h3>" in html
    for title in ("Who shares with whom", "Yield per mapping", "What sharing is lost"):
        assert f"### {title}" in markdown
    assert "net of KSM" in re.findall(r'<p class="headline">(.*?)</p>', html)[0]
    assert len(html) < 8 << 20
    whole = re.sub(r'<span class="part">|(?<=,)</span><wbr>|</span>(?=</code>)', "", html)
    for design in DESIGNS:
        assert f"<code>{design}</code>" in whole
        assert f"`{design}`" in markdown
    for metric in METRICS:
        tells = metric.group != "tracking"  # of these designs none counts what it loses
        assert (f"<code>{metric.name}</code>" in html) == tells
        assert (f"`{metric.name}`" in markdown) == tells
    assert "--design ksm-6.18,pages_to_scan=1000" in html
    assert "--design ksm-6.18,pages_to_scan=1000" in markdown


def test_what_designs_of_2009_lose_is_told_beside_those_that_lose_nothing() -> None:
    texts = render(compare(synthetic_trace(2, 100, 5), ["ksm-6.18", "madvise-rfc-2009,callbacks=fork,exit"]))
    assert Elements(texts["report.html"]).open == []
    for metric in METRICS:
        assert f"<code>{metric.name}</code>" in texts["report.html"]
    rows = [line.split("|") for line in texts["report.md"].splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert "entries lost" in texts["report.md"]
    assert "callbacks=fork,exit" in texts["report.html"]


def test_the_page_needs_no_network(report: Path) -> None:
    elements = Elements((report / "report.html").read_text())
    for _, attributes in elements.tags:
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    styles = re.findall(r"<style>(.*?)</style>", (report / "report.html").read_text(), re.S)
    assert not re.search(r"@import|url\(", styles[0])


def test_lines_have_few_points(comparison: Comparison) -> None:
    many = compare(synthetic_trace(2, 300, 20), ["ksm-6.18"], sample="batch", cost="none")
    assert many.samples.height > 2 * MAX_POINTS
    points = curves(many).group_by("label").len()
    assert set(points["label"]) == {"none", "oracle", "ksm-6.18"}
    assert points["len"].max() <= MAX_POINTS
    ends = many.samples["time_ns"].max() / 1e9
    assert curves(many).group_by("label").agg(pl.col("seconds").max())["seconds"].to_list() == pytest.approx([ends] * 3)


def test_savings_stay_between_the_bounds(comparison: Comparison) -> None:
    lines = curves(comparison)
    saved = {label: lines.filter(label=label)["saved_mib"] for label in ("none", *DESIGNS[1:])}
    assert (saved["none"] == 0).all()
    for design in DESIGNS[1:3]:
        assert (saved[design] <= saved["oracle"]).all()
        assert saved[design][-1] > 0


def test_missing_numbers_are_dashes(comparison: Comparison) -> None:
    keys = ("trace", "design", "settings")
    nothing = comparison.summary.with_columns(pl.lit(None, pl.Float64).alias(n) for n in comparison.summary.columns[3:])
    counters = [name for name in comparison.samples.columns if name not in (*keys, "time_ns", "frames")]
    bare = comparison.samples.with_columns(pl.lit(None, pl.Int64).alias(name) for name in counters)
    texts = render(replace(comparison, summary=nothing, samples=bare))
    assert Elements(texts["report.html"]).open == []
    assert "–" in texts["report.md"]
    assert "nan" not in texts["report.md"].lower()


def test_one_sample_makes_a_page_without_lines() -> None:
    texts = render(compare(synthetic_trace(2, 50, 2), ["ksm-6.18"], sample="end"))
    assert Elements(texts["report.html"]).open == []


def test_only_bounds_make_a_page() -> None:
    texts = render(compare(synthetic_trace(2, 50, 2), ["none"]))
    assert "Only bounds were replayed" in texts["report.md"]


def test_markup_in_names_is_shown_not_obeyed(comparison: Comparison) -> None:
    name = "</script><b>x"
    renamed = replace(
        comparison,
        samples=comparison.samples.with_columns(trace=pl.lit(name)),
        summary=comparison.summary.with_columns(trace=pl.lit(name)),
        bounds=comparison.bounds.with_columns(trace=pl.lit(name)),
        page_size={name: 4096},
        paths={name: name},
        notes={name: name},
    )
    html = render(renamed)["report.html"]
    assert Elements(html).open == []
    assert "<b>x" not in html


def test_the_command_says_what_differs_from_the_defaults(comparison: Comparison) -> None:
    other = replace(comparison, options=comparison.options | {"cost": "none", "ignore_tune": True, "sample": 0.5})
    assert command(other).endswith("--sample 0.5 --cost none --ignore-tune -o FOLDER")


def test_every_table_and_plot_is_named_for_those_who_hear_it(report: Path) -> None:
    elements = Elements((report / "report.html").read_text())
    plots = [attributes for _, attributes in elements.tags if attributes.get("class") == "plot"]
    assert all(each["role"] == "img" and each["aria-label"] for each in plots)
    names = [tag for tag, _ in elements.tags]
    assert names.count("table") == names.count("caption")
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in elements.tags if tag == "th")
    regions = [attributes for _, attributes in elements.tags if attributes.get("role") == "region"]
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in regions)


def test_every_figure_and_every_column_leads_to_its_definition(report: Path) -> None:
    html = (report / "report.html").read_text()
    elements = Elements(html)
    names = [attributes["id"] for _, attributes in elements.tags if attributes.get("id")]
    assert len(names) == len(set(names))
    for _, attributes in elements.tags:
        for name in (attributes.get("href") or "").split("#")[1:]:
            assert name in names
        for key in ("aria-labelledby", "aria-describedby", "aria-details"):
            assert set((attributes.get(key) or "").split()) <= set(names)
    titles = re.findall(r"<h3>(.*?)</h3>", html)
    assert html.count("<summary>What this means</summary>") == len(titles) > 10
    assert len(re.findall(r'<th scope="col"><a href="#m-', html)) == len(COLUMNS) - sum(one.optional for one in COLUMNS)


def test_no_difference_is_a_result() -> None:
    found = compare(
        synthetic_trace(2, 50, 3), ["ksm-6.18", "ksm-6.18,max_page_sharing=300", "ksm-6.18,pages_to_scan=20"]
    )
    markdown = render(found)["report.md"]
    assert "### Against the first design" in markdown
    assert "`ksm-6.18,max_page_sharing=300` against `ksm-6.18`: no difference in any of " in markdown
    assert "`ksm-6.18,pages_to_scan=20` against `ksm-6.18`: " in markdown
    assert "fewer pages scanned" in markdown


def test_work_adds_up_to_the_cpu_time(comparison: Comparison) -> None:
    rows = work_rows(comparison, next(iter(comparison.page_size)))
    for row in comparison.summary.filter(pl.col("cpu_s").is_not_null(), pl.col("design") != "none").to_dicts():
        label = ",".join(filter(None, (row["design"], row["settings"])))
        told = [each["seconds"] for each in rows if each["label"] == label]
        assert sum(told) == pytest.approx(row["cpu_s"], abs=0.001)
        assert all(seconds >= 0 for seconds in told)


def test_domains_of_the_command_line_are_in_the_command(comparison: Comparison) -> None:
    other = replace(comparison, options=comparison.options | {"domains": {"red": "vm-0", "blue": "vm-*"}})
    assert "--domains red=vm-0 --domains 'blue=vm-*'" in command(other)
