"""summary.html: one file that asks for nothing, well formed, escaped, and the same bytes twice."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from ranker.report.formats import clean_log
from ranker.report.html import render_html
from ranker.report.html_charts import draw_scatter, draw_scores
from ranker.report.plots import draw_summary
from ranker.report.points import find_tied_runs, stack_runs
from ranker.scoring.score import rank_lanes
from ranker.stages.rank import read_lane_items
from ranker.statistics.items import collect_values
from ranker.statistics.lanes import Resampling, add_statistics

WEIGHTS = {"kmmlu_pro": 0.25, "kmmlu_redux": 0.25, "komt_bench": 0.5}
NASTY = '"><script>alert(1)</script><img src="https://evil.example/x.png" onerror=x>$title'
VOID = {"meta", "link", "wbr", "br", "img"}
LOADING = re.compile(r"""\b(?:src|srcset|href|action|data)=(?!["']?(?:#|data:,|\./))|@import|url\((?!#)""")
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Page(HTMLParser):
    """Collects elements, attributes and text; fails where an element is left open or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@cache
def render_ranking(text: str, benchmarks: tuple[str, ...]) -> str:
    """Return the page of a ranking given as JSON; its charts take longest, so equal pages are drawn once."""
    return render_html(Ranking.model_validate_json(text), list(benchmarks), 0.5)


def render(records: list[LaneRecord], experiment: str = "test") -> str:
    ranking = rank_lanes(records, WEIGHTS, experiment=experiment)
    return render_ranking(ranking.model_dump_json(), tuple(WEIGHTS))


@pytest.fixture
def ranking(records: list[LaneRecord]) -> Ranking:
    return rank_lanes(records, WEIGHTS, experiment="test")


@pytest.fixture
def hostile(make_record: Callable[..., LaneRecord]) -> list[LaneRecord]:
    """Foreign text in every field that the page shows."""
    stages = {NASTY: 2.0}
    bad = LaneRecord(lane="b", title=NASTY, group=NASTY, status="failed", reason=NASTY, log_tail=[NASTY])
    lane = make_record("a<script>", title=NASTY, group=NASTY, device=NASTY, stage_seconds=stages)
    lane.benchmarks[NASTY] = lane.benchmarks["kmmlu_pro"]
    return [make_record("baseline"), lane, bad]


def test_the_page_asks_for_nothing(records: list[LaneRecord]) -> None:
    text = render(records)
    assert not LOADING.search(text)
    assert "//" not in text
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"img", "iframe", "object", "embed", "base", "form"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and "default-src 'none'" in policy


def test_the_one_script_is_the_one_that_the_policy_names(records: list[LaneRecord]) -> None:
    text = render(records)
    script = SCRIPT.findall(text)
    assert text.count("<script") == len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in text


def test_foreign_text_stays_text(hostile: list[LaneRecord]) -> None:
    text = render(hostile, experiment=NASTY)
    page = Page(text)
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name in ("src", "alert") for _, a in page.tags for name in a)
    for _, attributes in page.tags:
        assert (attributes.get("href") or "#").startswith(("#", "data:,", "./"))
    assert text.count("<script") == 1 and "&lt;script&gt;" in text  # the page's own
    assert page.text.count(NASTY) >= 8


def test_ids_are_used_once_and_references_are_met(records: list[LaneRecord]) -> None:
    text = render(records)
    ids = Counter(a["id"] for _, a in Page(text).tags if "id" in a)
    assert set(ids.values()) == {1}
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)
    assert set(re.findall(r'aria-labelledby="([^"]+)"', text)) <= set(ids)


def test_the_head_says_language_letters_and_title(records: list[LaneRecord]) -> None:
    text = render(records, "my experiment")
    assert text.startswith('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">')
    assert "<title>my experiment: ranking</title>" in text
    for media in ("prefers-color-scheme: dark", "@media print", "max-width: 640px"):
        assert media in text


def test_the_table_shows_every_lane_and_number(records: list[LaneRecord]) -> None:
    page = Page(render(records))
    for expected in (
        "lane01_w4", "0.7500", "0.4500", "0.9000", "40.00 ± 2 %", "+60.0 %", "971", "−100.0 %",
        "rank순위", "score점수", "Perf품질", "ms/token토큰당 시간", "speed gain속도 향상", "kmmlu_pro정확도",
        "3 lanes ranked, 2 without a rank", "incomplete", "not measured: kmmlu_redux",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert page.text.count("cpu") > 2 * 5


def test_warnings_come_before_the_table(records: list[LaneRecord]) -> None:
    text = Page(render(records)).text
    for warning in ("do not choose a submission by it", "komt_bench (weight 0.5) is left out: no judge"):
        assert text.index(warning) < text.index("score점수")


def test_a_gpus_page_names_it_and_warns_of_no_cpu(make_record: Callable[..., LaneRecord]) -> None:
    text = Page(
        render([make_record(name, device="NVIDIA L4", device_kind="cuda") for name in ("baseline", "a")])
    ).text
    assert text.count("NVIDIA L4") >= 3
    assert "cpu" not in text


def test_a_failed_lane_has_its_reason_and_its_log_folded(records: list[LaneRecord]) -> None:
    text = render(records)
    folded = re.search(r"<details><summary>the log's last lines</summary><pre>(.*?)</pre>", text, re.DOTALL)
    assert folded
    assert folded[1].splitlines()[1] == "step 2"
    assert folded[1].endswith("no memory for &lt;b&gt;rows&lt;/b&gt;")
    assert "stage sft: out of memory\n  remedy: lower batch_size | or rows</div>" in text


def test_times_are_drawn_in_the_order_of_the_stages(records: list[LaneRecord]) -> None:
    text = render(records)
    bar = re.search(
        r'<code>lane01_<wbr>w4</code></th><td class="track">(.*?)</td><td class="num">(.*?)<', text
    )
    assert bar
    assert re.findall(r'width: ([\d.]+)%" title="([^"]+)"', bar[1]) == [
        ("28.65", "gptq 12.2 s"),
        ("71.35", "evaluate 30.5 s"),
    ]
    assert bar[2] == "42.8 s"


def test_a_page_without_a_scored_lane_says_so(make_record: Callable[..., LaneRecord]) -> None:
    base = make_record("baseline", pro=0.0, redux=0.0)
    text = Page(render([base, make_record("a"), LaneRecord(lane="b", status="failed")])).text
    assert "no lane could be scored" in text
    assert "Perf of the baseline is 0" in text
    assert "no reason given" in text


def test_charts_are_repeatable_mark_the_baseline_and_follow_the_pages_colours(ranking: Ranking) -> None:
    scores, scatter = draw_scores(ranking), draw_scatter(ranking)
    assert (scores, scatter) == (draw_scores(ranking), draw_scatter(ranking))
    assert "#22262a" not in scores + scatter
    assert "baseline 0.500" in scores and ">baseline<" in scatter


def test_a_lane_far_slower_than_the_baseline_stands_at_the_edge(
    make_record: Callable[..., LaneRecord],
) -> None:
    records = [make_record("baseline", seconds=0.1), make_record("a", seconds=0.4)]
    records += [make_record(f"near{n}", seconds=0.1) for n in range(3)]
    chart = draw_scatter(rank_lanes(records, WEIGHTS))
    assert ">4 (−300 %)<" in chart
    assert ">1–3<" in chart


def test_a_name_is_no_formula(make_record: Callable[..., LaneRecord], tmp_path: Path) -> None:
    records = [make_record("baseline"), make_record("$\\bad$", group="_$x")]
    draw_summary(rank_lanes(records, WEIGHTS, experiment="$\\frac$"), tmp_path / "x.png")
    assert "$\\bad$" in render(records)


Run = tuple[list[LaneRecord], dict[str, Path]]


@pytest.fixture
def rich_page(rich_run: Run) -> str:
    """The page of a ranking with items, forms, a judge and contamination."""
    records, inputs = rich_run
    names = ["kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench"]
    ranking = rank_lanes(records, dict.fromkeys(names, 0.25), experiment="rich")
    items = {r.lane: collect_values(read_lane_items(r.lane, inputs)) for r in records}
    add_statistics(ranking, items, 0.5, Resampling(resamples=300))
    return render_ranking(ranking.model_dump_json(), tuple(names))


def test_a_page_with_statistics_is_well_formed_and_asks_for_nothing(rich_page: str) -> None:
    page = Page(rich_page)
    assert not LOADING.search(rich_page) and "//" not in rich_page
    ids = Counter(a["id"] for _, a in page.tags if "id" in a)
    assert set(ids.values()) == {1}
    labels = {str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a}
    assert labels == {"bars-caption", "scatter-caption", "recovery-caption"} and labels <= set(ids)


def test_a_page_with_statistics_tells_what_they_say(rich_page: str) -> None:
    text = Page(rich_page).text
    for expected in (
        "Quality by benchmark벤치마크별 품질",
        "recovery회복률",
        "kmmlu_pro (accuracy, 25 % of Perf, test: exact McNemar) 정확도",
        "unanswerable",
        "gold lost정답 유실",
        "exact 0.3000, 50 items",
        "Speed by form방식별 속도",
        "prefill프리필",
        "⚠ 259.4 / 225.0 tokens an item",
        "Speed: where and how속도 측정 환경",
        "gpu: driver550.54",
        "memory bandwidth300 GB/s",
        "of the roofline루프라인 대비",
        "linear: Marlin: 210",
        "⚠ contaminated 오염",
        "◆ front 파레토",
        "≈ 2 구별 안 됨",
        "Intervals are 95 % percentile bootstrap intervals",
    ):
        assert expected in text, expected


def test_the_chart_of_scores_joins_what_is_tied(ranking: Ranking) -> None:
    first, second, third = (lane for lane in ranking.lanes if lane.rank)
    second.tied_with, third.tied_with = [third.record.lane], [second.record.lane]
    assert find_tied_runs([first, second, third]) == [(1, 2)]
    assert stack_runs([(0, 2), (1, 3), (3, 5)]) == [(0, 0, 2), (1, 1, 3), (0, 3, 5)]


def test_logs_are_shown_as_plain_text() -> None:
    lines = ["one", "10%\r\x1b[1;31m99%\x1b[0m", "  ", "a\tb\x07", "x" * 500]
    assert clean_log(lines, 3) == ["99%", "a   b", "x" * 400 + " …"]
    assert clean_log([], 5) == []
