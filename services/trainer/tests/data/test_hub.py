"""The hub path over real HTTP: what is fetched, and what each refusal says.

The hub's address is read when the libraries are imported, so they run in a process of their own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_double import COMMIT, GOOD_TOKEN, HubDouble

CHOICES = [{"question": f"문항 {i}", "options": ["가", "나", "다", "라"], "solution": "1"} for i in range(5)]
OTHER_COMMIT = "c" * 40
READ = """
import json, os, sys, time
time.sleep = lambda seconds: None  # the libraries' own retries wait for a minute
from lanekit.errors import LanekitError
from lanekit.spec.params import Source
from lanekit.sources.resolve import ask_hub
from trainer.data.rows import iterate_rows, sample_rows
for line in sys.stdin:
    case = json.loads(line)
    how, name, token = case.pop("how"), case.pop("name"), case.pop("token")
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        if how == "ask":
            result = ask_hub(case["source"], case["revision"], "dataset")
        elif how == "sample":
            sample = sample_rows(Source(**case), name, 3, 42)
            result = sample.numbers, sample.rows, sample.n_source
        else:
            result = [row for _, row in iterate_rows(Source(**case), name)]
        print(json.dumps({"result": result}), flush=True)
    except LanekitError as error:
        print(json.dumps({"error": type(error).__name__, "text": str(error)}), flush=True)
"""


class Reader:
    """A process that reads from the double."""

    def __init__(self, hub: HubDouble, home: Path) -> None:
        self.hub = hub
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE_"))}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", READ], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )  # fmt: skip

    def ask(
        self, source: str, how: str = "rows", name: str = "kmmlu_pro", token: str = "", **case: Any
    ) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        case = {"split": "test", "revision": COMMIT, **case}
        request = {"how": how, "name": name, "token": token, "source": source, **case}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(CHOICES), buffer)
    files = {"data/test-00000-of-00001.parquet": buffer.getvalue(), "README.md": b"# a set\n"}
    sets = dict.fromkeys(("org/open", "org/second", "org/third", "org/gated", "org/closed"), files)
    hub = HubDouble({**sets, "org/empty": {"README.md": b"#\n"}}, {"org/gated", "org/closed"})
    reader = Reader(hub, tmp_path_factory.mktemp("hub"))
    yield reader
    assert reader.process.stdin
    reader.process.stdin.close()
    reader.process.wait(timeout=60)
    hub.close()


def test_rows_are_fetched_at_their_commit(reader: Reader) -> None:
    assert reader.ask("org/open", rows=5) == {"result": CHOICES}
    numbers, rows, total = reader.ask("org/open", how="sample")["result"]
    assert total == 5
    assert [CHOICES[number - 1] for number in numbers] == rows
    assert len(set(numbers)) == 3


def test_another_number_of_rows_is_refused_with_both(reader: Reader) -> None:
    answer = reader.ask("org/open", rows=2822)
    assert answer["error"] == "InputError"
    assert "has 5 rows, 2822 are expected" in answer["text"]


def test_a_missing_column_names_the_set(reader: Reader) -> None:
    answer = reader.ask("org/open", name="ko_longrag")
    assert (
        "org/open: the column 'id', 'titles', 'context', 'answer', 'prompt', 'task' is missing"
        in answer["text"]
    )


def test_an_unknown_split_names_the_known_ones(reader: Reader) -> None:
    answer = reader.ask("org/open", split="tset")
    assert answer["error"] == "InputError"
    assert "['test']" in answer["text"]
    assert "correct 'split'" in answer["text"]


def test_a_set_without_files_says_so(reader: Reader) -> None:
    assert "no files that can be read" in reader.ask("org/empty")["text"]


def test_a_gated_set_without_a_token_says_which_page_to_open(reader: Reader) -> None:
    answer = reader.ask("org/gated")
    assert answer["error"] == "InputError"
    assert "org/gated: this dataset is gated, and no token is set" in answer["text"]
    assert "open https://huggingface.co/datasets/org/gated, accept the terms there" in answer["text"]
    assert "HF_TOKEN" in answer["text"]


def test_a_token_without_access_is_told_from_none(reader: Reader) -> None:
    answer = reader.ask("org/gated", token="hf_other")
    assert answer["error"] == "InputError"
    assert "the account of the token in use has no access" in answer["text"]
    assert "https://huggingface.co/datasets/org/gated" in answer["text"]


def test_a_token_with_access_reads_the_gated_set(reader: Reader) -> None:
    assert reader.ask("org/closed", token=GOOD_TOKEN, rows=5) == {"result": CHOICES}


def test_no_such_set_and_no_such_revision_are_told_apart(reader: Reader) -> None:
    for how, unknown in (("rows", OTHER_COMMIT), ("ask", "zzz")):
        missing = reader.ask("org/none", how=how, revision="main")
        assert "org/none: no such dataset on the hub, or it needs HF_TOKEN" in missing["text"]
        answer = reader.ask("org/open", how=how, revision=unknown)
        assert f"org/open: no such revision '{unknown}'" in answer["text"]


def test_a_branch_becomes_its_commit(reader: Reader) -> None:
    assert reader.ask("org/open", how="ask", revision="main") == {"result": COMMIT}


def test_a_cached_commit_does_not_stand_in_for_another(reader: Reader) -> None:
    """`load_dataset` falls back on whatever commit its cache has; that is not what was asked for."""
    assert reader.ask("org/open") == {"result": CHOICES}
    answer = reader.ask("org/open", revision=OTHER_COMMIT)
    assert answer["error"] == "InputError"
    assert f"no such revision '{OTHER_COMMIT}'" in answer["text"]


def test_a_fault_that_passes_is_waited_out(reader: Reader) -> None:
    reader.hub.n_faults = 3
    assert reader.ask("org/second") == {"result": CHOICES}
    assert reader.hub.n_faults == 0


def test_a_fault_that_stays_is_a_passing_one_for_the_stage(reader: Reader) -> None:
    reader.hub.n_faults = 10_000
    answer = reader.ask("org/third")
    reader.hub.n_faults = 0
    assert answer["error"] == "TransientError"
    assert "the hub could not be asked" in answer["text"]


def test_a_hub_that_is_gone_is_a_passing_fault(reader: Reader) -> None:
    """The last test: it takes the hub away."""
    reader.hub.close()
    assert reader.ask("org/third")["error"] == "TransientError"
    assert reader.ask("org/third", how="ask", revision="main")["error"] == "TransientError"
    assert reader.ask("org/open") == {"result": CHOICES}, "the same commit out of the cache is as good"
