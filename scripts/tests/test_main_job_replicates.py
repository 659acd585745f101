"""Finalists over several draws, with the real stages: what is new, what is kept, what the report says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import EmbeddedRun, Runner, read_table

pytestmark = pytest.mark.slow

LANE = "lane03_gptq_w8a16"
OPTIONS = ("--only", "lane03", "--replicates", "3")


def read_manifests(store: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.parent.relative_to(store)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(store.glob("*/*/manifest.json"))
    }


@pytest.fixture(scope="module")
def repeated(embedded_run: EmbeddedRun, run_script: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one lane was run over three draws, after the main job."""
    folder = tmp_path_factory.mktemp("repeated")
    shutil.copytree(embedded_run.folder / ".lanekit", folder / ".lanekit")
    run_script("run_all.py", *OPTIONS, cwd=folder)
    return folder


def test_only_the_other_draws_are_computed(repeated: Path, embedded_run: EmbeddedRun) -> None:
    before = read_manifests(embedded_run.folder / ".lanekit" / "store")
    after = read_manifests(repeated / ".lanekit" / "store")
    assert {path: after[path] for path in before} == before
    stages = sorted(after[path]["stage"] for path in set(after) - set(before))
    assert [s for s in stages if s not in ("rank", "package", "verify_package")] == [
        "compare_logits", "compare_logits", "evaluate", "evaluate", "gptq", "gptq", "prepare_corpus",
        "prepare_corpus",
    ]  # fmt: skip


def test_the_draws_are_other_rows_balanced_alike(repeated: Path) -> None:
    store = repeated / ".lanekit" / "store"
    corpora = sorted(store.glob("data/corpus-*"))
    rows, bins = [], []
    for corpus in corpora:
        lines = (corpus / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
        rows.append(frozenset(json.loads(line)["row"] for line in lines))
        report = json.loads((corpus / "report.json").read_text(encoding="utf-8"))
        bins.append({name: found["rows"] for name, found in report["calibration_bins"].items()})
    assert len(corpora) == len(set(rows)) == 3
    assert {len(found) for found in rows} == {32} and bins[0] == bins[1] == bins[2]


def test_the_table_holds_the_mean_and_the_package_is_the_firsts(repeated: Path) -> None:
    table = read_table(repeated)
    assert set(table) == {"baseline", LANE}
    row = table[LANE]
    perfs = [float(value) for value in row["perf_draws"].split()]
    assert len(perfs) == 3 and float(row["perf"]) == pytest.approx(sum(perfs) / 3)
    assert row["replicates"].split() == [LANE, f"{LANE}-r2", f"{LANE}-r3"]
    for name in row["replicates"].split():
        folder = repeated / "results" / name
        assert (folder / "items.parquet").is_file() and (folder / "metrics.json").is_file()
    text = (repeated / "results" / "summary.md").read_text(encoding="utf-8")
    assert "## Replicates over draws" in text and f"the first's: {LANE}" in text
    first = json.loads((repeated / "results" / LANE / "metrics.json").read_text(encoding="utf-8"))
    manifests = read_manifests(repeated / ".lanekit" / "store")
    packages = [m for p, m in manifests.items() if p.startswith(f"submissions/{LANE}-")]
    assert packages and all(first["model"].endswith(m["inputs"]["model"][:12]) for m in packages)
    assert not list((repeated / ".lanekit" / "store").glob(f"submissions/{LANE}-r[0-9]-*"))


def test_again_and_step_by_step_nothing_is_computed_and_the_table_is_the_same(
    repeated: Path, run_script: Runner
) -> None:
    table, before = read_table(repeated), read_manifests(repeated / ".lanekit" / "store")
    assert "running:" not in run_script("run_all.py", *OPTIONS, cwd=repeated).stdout
    run_script("05_rank_and_package.py", cwd=repeated)
    assert read_table(repeated) == table
    made = set(read_manifests(repeated / ".lanekit" / "store")) - set(before)
    assert all(path.startswith("results/summary-") for path in made)
    compared = run_script("compare_lanes.py", LANE, f"{LANE}-r2", cwd=repeated)
    assert f"B = {LANE}-r2" in compared.stdout
