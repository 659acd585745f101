"""summary.html in a real browser: sorting, names under the pointer, lanes' parts; narrow, dark, printed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import open_browser, take_picture
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from lanekit.results.ranking import Interval
from lanekit.results.schema import BenchmarkResult, LaneRecord, LaneStage
from lanekit.results.speed import SpeedResult
from ranker.report.html import render_html
from ranker.scoring.score import rank_lanes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/usr/bin/chromedriver").exists(), reason="no Chromium with its driver here"),
]
N_LANES, NARROW = 12, 400
TITLE = "GPTQ W4A16, 감쇠 0.05와 활성값 순서 재배열을 함께 쓴, 제목이 매우 긴 변형"


def make_record(lane: str, quality: float, seconds: float, size_bytes: int) -> LaneRecord:
    """Make a lane's record as of a GPU."""
    return LaneRecord(
        lane=lane, title=TITLE, group="Quantization", size_bytes=size_bytes,
        benchmarks={
            name: BenchmarkResult(metric="accuracy", version=1, value=quality, n_items=100)
            for name in ("kmmlu_pro", "kmmlu_redux")
        },
        speed=SpeedResult(
            s_per_token=seconds, s_per_token_all=[seconds], baseline_s_per_token=0.1,
            baseline_s_per_token_all=[0.1], batch_size=8, prompt_tokens=64, decode_tokens=32, engine="vllm",
            device="NVIDIA L4", device_kind="cuda",
        ),
        recipe=[LaneStage(name="gptq", parameters={"scheme": "W4A16", "dampening": 0.05})],
        stages=["models/gptq-0123456789abcdef"], stage_seconds={"gptq": 612.0, "evaluate": 1833.5},
        contamination={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of twelve lanes and one that failed."""
    records = [make_record("baseline", 0.5, 0.1, 2_558_000_000)]
    records += [
        make_record(
            f"lane{n:02d}_sft_gptq_w4a16_damp", 0.5 - 0.01 * (n % 5), 0.1 - 0.005 * n, 10**9 - n * 10**7
        )
        for n in range(1, N_LANES + 1)
    ]
    records.append(LaneRecord(lane="lane13_failed", status="failed", reason="no memory", log_tail=["last"]))
    ranking = rank_lanes(records, {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}, experiment="browser")
    for lane in ranking.lanes[1 : N_LANES + 1]:
        assert lane.perf_norm
        lane.perf_norm_interval = Interval(low=lane.perf_norm - 0.03, high=lane.perf_norm + 0.03)
    target = tmp_path_factory.mktemp("page") / "summary.html"
    target.write_text(render_html(ranking, ["kmmlu_pro", "kmmlu_redux"], 0.5), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    """One browser for all: its start takes longest."""
    with open_browser(1280, 1000) as found:
        yield found


@pytest.fixture
def browser(chrome: webdriver.Chrome, page: Path) -> Iterator[webdriver.Chrome]:
    """A browser with the page open anew, which complained of nothing at the end."""
    chrome.get("about:blank")
    chrome.get_log("performance")
    set_width(chrome, 1280)
    chrome.get(page.as_uri())
    yield chrome
    assert chrome.get_log("browser") == []  # a script that the policy refuses is named here


def set_width(browser: webdriver.Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def list_lanes(browser: webdriver.Chrome) -> list[str]:
    cells = browser.find_elements(By.CSS_SELECTOR, "#ranking ~ .scroll tbody th.lane code")
    return [cell.text for cell in cells]


def test_a_column_sorts_both_ways_and_back(browser: webdriver.Chrome) -> None:
    ranked = list_lanes(browser)
    size = browser.find_element(By.XPATH, "//h2[@id='ranking']/..//th[contains(., 'MB')]")
    orders = []
    for _ in range(3):
        size.find_element(By.TAG_NAME, "button").click()
        orders.append((size.get_attribute("aria-sort"), list_lanes(browser)))
    # Each is smaller than the last.
    by_size = [f"lane{n:02d}_sft_gptq_w4a16_damp" for n in range(1, N_LANES + 1)]
    assert orders == [
        ("descending", ["baseline", *by_size, "lane13_failed"]),
        ("ascending", ["baseline", *reversed(by_size), "lane13_failed"]),
        (None, ranked),
    ]
    assert ranked[0] == "baseline" and ranked[-1] == "lane13_failed"


def test_without_scripts_the_page_is_whole(browser: webdriver.Chrome, page: Path) -> None:
    try:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(page.as_uri())
        heads = browser.find_elements(By.CSS_SELECTOR, "#ranking ~ .scroll th button")
        assert not heads and list_lanes(browser)[0] == "baseline" and len(list_lanes(browser)) == N_LANES + 2
        browser.find_element(By.CSS_SELECTOR, "#ranking ~ .scroll a[href='#lane-lane13_failed']").click()
        assert not browser.find_element(By.CLASS_NAME, "overview").is_displayed()
        assert browser.find_element(By.ID, "lane-lane13_failed").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [1280, NARROW])
def test_a_points_name_shows_under_the_pointer_and_inside_the_window(
    browser: webdriver.Chrome, width: int
) -> None:
    set_width(browser, width)
    points = browser.find_elements(By.CSS_SELECTOR, ".point")
    assert len(points) == N_LANES + 1
    for point in (points[0], points[1], points[-1]):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
        ActionChains(browser).move_to_element(point).perform()
        tip = point.find_element(By.CLASS_NAME, "tip")
        assert tip.is_displayed() and ("lane" in tip.text or "baseline" in tip.text)
        assert tip.rect["x"] >= 0 and tip.rect["x"] + tip.rect["width"] <= width


@pytest.mark.parametrize("width", [1280, NARROW])
def test_a_lanes_part_takes_the_rankings_place_and_gives_it_back(
    browser: webdriver.Chrome, width: int
) -> None:
    set_width(browser, width)
    overview = browser.find_element(By.CLASS_NAME, "overview")
    parts = browser.find_elements(By.CLASS_NAME, "lane-page")
    assert overview.is_displayed() and not any(part.is_displayed() for part in parts)
    assert measure_width(browser) <= width
    link = browser.find_element(By.CSS_SELECTOR, "#ranking ~ .scroll a[href='#lane-lane13_failed']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    assert not overview.is_displayed()
    assert [part.get_attribute("id") for part in parts if part.is_displayed()] == ["lane-lane13_failed"]
    assert measure_width(browser) <= width
    browser.find_element(By.CSS_SELECTOR, ".lane-page:target nav a").click()
    assert overview.is_displayed()
    browser.back()
    assert not overview.is_displayed()


def measure_width(browser: webdriver.Chrome) -> int:
    return int(browser.execute_script("return document.documentElement.scrollWidth"))


def test_it_follows_the_dark_and_is_printed_whole_without_a_request(
    browser: webdriver.Chrome, page: Path, tmp_path: Path
) -> None:
    colours = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.append(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
        take_picture(browser, Path(os.environ.get("LANEKIT_REPORTS", tmp_path)) / f"summary-{scheme}.png")
    assert colours[0] != colours[1]
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for closed in browser.find_elements(By.CSS_SELECTOR, ".overview details:not([open]) > :last-child"):
        assert closed.rect["height"] > 0
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = {message["params"].get("request", {}).get("url") for message in messages} - {None}
    assert asked == {page.as_uri()}
