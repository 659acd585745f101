"""What a person sees: MinIO's console and summary.html, in a real browser. The pictures go to the README."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from browser import click, find, log_in, open_browser, take_picture
from composed import N_LANES, FinishedRun, Stack

pytestmark = [pytest.mark.slow, pytest.mark.stack]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where the pictures go: LANEKIT_REPORTS where it is set."""
    return Path(os.environ.get("LANEKIT_REPORTS", tmp_path))


def test_the_console_shows_a_lanes_manifest(stack: Stack, finished_run: FinishedRun, pictures: Path) -> None:
    record = json.loads(
        (finished_run.folder / "results" / "lane01_gptq_w4a16" / "metrics.json").read_text(encoding="utf-8")
    )
    bucket, name = record["model"].split("/")
    url = f"http://127.0.0.1:{stack.ports['MINIO_CONSOLE_PORT']}"
    with open_browser() as browser:
        log_in(browser, url, "operator", stack.read_secret("OPERATOR_SECRET_KEY"))
        browser.get(f"{url}/browser/{bucket}")
        find(browser, f"//*[text()='{name}']")
        take_picture(browser, pictures / "console-models.png")
        click(browser, f"//*[text()='{name}']")
        for expected in ("README.md", "model.safetensors", "report.json"):
            find(browser, f"//*[text()='{expected}']")
        click(browser, "//*[text()='manifest.json']")
        find(browser, "//button[contains(., 'Download')]")
        assert f"{name}%2Fmanifest.json" in browser.current_url
        take_picture(browser, pictures / "console-manifest.png")


def test_the_summary_opens_without_a_network(finished_run: FinishedRun, pictures: Path) -> None:
    page = finished_run.folder / "results" / "summary.html"
    with open_browser(1280, 1500) as browser:
        browser.get(page.as_uri())
        text = find(browser, "//body")
        for number in range(1, N_LANES + 1):
            assert f"lane{number:02d}_" in text
        asked = [
            json.loads(entry["message"])["message"]["params"].get("request", {}).get("url", "")
            for entry in browser.get_log("performance")
        ]
        assert not [url for url in asked if url.startswith("http")]
        take_picture(browser, pictures / "summary-html.png")
