"""What is said where a package is not the recorded one: the first file, the stage, and what is different
here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from lanekit.commands.reproduction.bundle import Bundle, Environment, StageRecord, describe_stage
from lanekit.commands.reproduction.comparison import (
    compare_files,
    compare_package,
    compare_plans,
    find_first_stage,
)
from lanekit.commands.reproduction.environment import compare_environments, look_at_environment
from lanekit.plan.graph import Plan, StageRun, make_stage_run
from lanekit.spec.quantization import Fp8Params
from lanekit.store.manifest import FileEntry, Manifest

LOCKS = {"trainer": "t", "quantizer": "q", "ranker": "r"}
FILES = {
    "fetch_model": ("config.json", "model.safetensors", "report.json", "training_log.jsonl"),
    "fp8": ("config.json", "model.safetensors", "report.json", "README.md"),
    "package": (
        "package/config.json",
        "package/model.safetensors",
        "package.json",
        "README.md",
        "submit.zip",
    ),
}


def make_entry(character: str = "a") -> FileEntry:
    return FileEntry(size_bytes=1, sha256=character * 64)


def make_manifest(run: StageRun, names: tuple[str, ...], **changed: str) -> Manifest:
    files = {name: make_entry(changed.get(name.replace("/", "_").replace(".", "_"), "a")) for name in names}
    return Manifest(
        key=run.key, name=run.name, stage=run.type.name, stage_version=run.type.version,
        bucket=run.type.bucket, parameters={}, inputs=dict(run.inputs), versions={"torch": "2.9.1"},
        started_at=datetime.now(timezone.utc), seconds=1.0, files=files,
    )  # fmt: skip


@pytest.fixture
def plan(make_fetch: Callable[..., StageRun]) -> Plan:
    fetch = make_fetch()
    plan = Plan({fetch.key: fetch})
    quantize = make_stage_run("fp8", Fp8Params(scheme="FP8_DYNAMIC"), {"model": fetch.key}, LOCKS)
    plan.runs[quantize.key] = quantize
    return plan


@pytest.fixture
def bundle(plan: Plan) -> Bundle:
    environment = Environment(
        device="L4", gpus=({"name": "L4", "driver": "550", "cuda": "12.8"},), machine="Linux",
        python="3.11.1", packages={"torch": "2.9.1", "abc": "1", "numpy": "2.0"},
    )  # fmt: skip
    stages = [describe_stage(run, make_manifest(run, FILES[run.type.name])) for run in plan.runs.values()]
    package = stages[-1].model_copy(
        update={"stage": "package", "files": {name: make_entry() for name in FILES["package"]}}
    )
    return Bundle(
        lane="lane04", experiment="test", experiment_file="experiment.yaml", commit="c", lock_digests=LOCKS,
        sources={}, stages=(*stages, package), environment=environment,
    )  # fmt: skip


def make_made(bundle: Bundle, plan: Plan, **changed: str) -> Manifest:
    return make_manifest(list(plan.runs.values())[-1], FILES["package"], **changed)


def test_equal_files_are_no_difference_whatever_the_reports_say(bundle: Bundle, plan: Plan) -> None:
    assert compare_package(bundle, make_made(bundle, plan)) == []
    assert compare_package(bundle, make_made(bundle, plan, README_md="b", package_json="b")) == []


def test_the_first_file_of_the_package_is_named_before_its_zip(bundle: Bundle, plan: Plan) -> None:
    found = compare_package(bundle, make_made(bundle, plan, submit_zip="b", package_model_safetensors="c"))
    assert [d.name for d in found] == ["package/model.safetensors", "submit.zip"]
    assert str(found[0]) == f"package/model.safetensors: sha256 {'c' * 64}, in the bundle {'a' * 64}"


def test_missing_and_additional_files_are_told() -> None:
    lost, added = compare_files({"a": make_entry()}, {"b": make_entry()})
    assert (str(lost), str(added)) == ("a is missing", "b is one file more than in the bundle")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"report_json": "b", "README_md": "b", "training_log_jsonl": "b"}, None),
        ({"model_safetensors": "b"}, "fetch_model"),
    ],
)
def test_the_stage_where_it_begins_is_found(
    bundle: Bundle, plan: Plan, changed: dict[str, str], expected: str | None
) -> None:
    manifests = [make_manifest(run, FILES[run.type.name], **changed) for run in plan.runs.values()]
    found = find_first_stage(bundle, manifests)
    assert (found[0].stage if found else None) == expected
    later = [manifests[0], make_manifest(list(plan.runs.values())[1], FILES["fp8"], config_json="b")]
    if not expected:
        first = find_first_stage(bundle, later)
        assert first is not None and (first[0].stage, first[2].name) == ("fp8", "config.json")


def test_equal_keys_need_no_word_and_others_say_why(bundle: Bundle, plan: Plan) -> None:
    same = bundle.model_copy(update={"stages": bundle.stages[:2]})
    assert compare_plans(same, plan, LOCKS) == []
    assert compare_plans(bundle, plan, LOCKS) == [
        "the stages are fetch_model, fp8, in the bundle fetch_model, fp8, package"
    ]

    def change(**fields: Any) -> Bundle:
        record: StageRecord = bundle.stages[1].model_copy(update={"key": "0" * 64, **fields})
        return same.model_copy(update={"stages": (bundle.stages[0], record)})

    assert compare_plans(change(), plan, {**LOCKS, "quantizer": "other"}) == [
        "the requirements lock of the quantizer is another"
    ]
    assert compare_plans(change(version=1), plan, LOCKS) == ["fp8 is of version 2, in the bundle 1"]
    parameters = {**bundle.stages[1].parameters, "max_length": 1}
    assert compare_plans(change(parameters=parameters), plan, LOCKS) == ["fp8 has another max_length"]
    fetch = bundle.stages[0]
    model = {**fetch.parameters["model"], "source": "local"}  # another place of the same content
    moved = fetch.model_copy(update={"key": "0" * 64, "parameters": {**fetch.parameters, "model": model}})
    assert compare_plans(same.model_copy(update={"stages": (moved, bundle.stages[1])}), plan, LOCKS) == [
        "the keys of the stages are others"
    ]


def test_what_is_different_here_begins_with_the_device(bundle: Bundle) -> None:
    recorded = bundle.environment
    assert compare_environments(recorded, recorded) == []
    here = recorded.model_copy(
        update={"device": "H100", "gpus": (), "python": "3.12.0",
                "packages": {"torch": "2.9.2", "abc": "2", "zlib": "1"}}
    )  # fmt: skip
    assert compare_environments(recorded, here) == [
        "device: L4 in the bundle, H100 here",
        "GPU: name L4, driver 550, cuda 12.8 in the bundle, none here",
        "Python: 3.11.1 in the bundle, 3.12.0 here",
        "torch: 2.9.1 in the bundle, 2.9.2 here",
        "abc: 1 in the bundle, 2 here",
        "numpy: 2.0 in the bundle, not there here",
        "zlib: not there in the bundle, 1 here",
    ]


def test_this_machine_is_described_the_same_twice() -> None:
    here = look_at_environment()
    assert here == look_at_environment() and here.device
    assert "pydantic" in here.packages and "exaone-lanes" not in here.packages
    many = here.model_copy(update={"packages": {f"p{n:02d}": "1" for n in range(20)}})
    assert compare_environments(here.model_copy(update={"packages": {}}), many)[-1] == "and 8 more packages"
