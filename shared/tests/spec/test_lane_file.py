"""Lane and experiment files with mistakes: golden texts with line and column, all mistakes at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.files.strict_yaml import InputProblems
from lanekit.spec.experiment_file import load_experiment, load_experiment_lanes
from lanekit.spec.lane_file import Lane, LaneStage, load_lane, read_lanes, select_lanes
from lanekit.spec.params import PruneParams
from lanekit.spec.quantization import GptqParams
from lanekit.spec.stages import LANE_STAGES, STAGE_TYPES

GPTQ_NAMES = ", ".join(GptqParams.model_fields)
STAGES = ", ".join(LANE_STAGES)


def load(lanes_folder: Path, folder: Path, **files: str) -> list[Lane]:
    """Load lane files of these texts under the repository's experiment."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return load_experiment_lanes(lanes_folder / "experiment.yaml", folder)[1]


def explain(lanes_folder: Path, folder: Path, **files: str) -> list[str]:
    """Return the problems of lane files, without the folder's name."""
    with pytest.raises(InputProblems) as caught:
        load(lanes_folder, folder, **files)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


HEAD = "title: a\ngroup: b\nstages:\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEAD + "  - gptq: {scheme: W4A61}\n",
            ["lane01.yaml:4:12: scheme: unknown value 'W4A61' (did you mean 'W4A16'?); "
             "allowed: W4A16, W4A16_ASYM, W8A16, W8A8"],
        ),
        (
            HEAD + "  - gtpq: {scheme: W4A16}\n",
            [f"lane01.yaml:4:5: unknown stage 'gtpq' (did you mean 'gptq'?); allowed: {STAGES}"],
        ),
        (
            HEAD + "  - gptq:\n      scheme: W4A16\n      dampning: 0.05\n",
            ["lane01.yaml:6:7: unknown name 'dampning' (did you mean 'dampening'?); allowed: " + GPTQ_NAMES],
        ),
        (HEAD + "  - gptq\n", ["lane01.yaml:4:5: 'scheme' is missing"]),
        (
            HEAD + "  - prune: {keep_layers: 0}\n",
            ["lane01.yaml:4:13: keep_layers: Input should be greater than 0, not 0"],
        ),
        (
            HEAD + "  - gptq: {scheme: W4A16, dampening: .inf}\n",
            ["lane01.yaml:4:27: dampening: Input should be a finite number, not inf"],
        ),
        (
            HEAD + "  - gptq: {scheme: W4A16, dampening: 1.0}\n",
            ["lane01.yaml:4:27: dampening: Input should be less than 1, not 1.0"],
        ),
        (
            HEAD + "  - gptq: {scheme: W4A16}\n  - sft\n",
            ["lane01.yaml:5:5: 'sft' needs an unquantized model, but an earlier stage quantizes it"],
        ),
        (
            HEAD + "  - fp8: {scheme: FP8}\n  - post_sft\n  - gptq: {scheme: W8A16}\n",
            ["lane01.yaml:6:5: 'gptq' needs an unquantized model, but an earlier stage quantizes it"],
        ),
        (HEAD + "  - gptq: W4A16\n", ["lane01.yaml:4:5: the parameters of 'gptq' must be a mapping"]),
        (
            HEAD + "  - {sft: {}, gptq: {}}\n",
            ["lane01.yaml:4:5: a stage is one name with its parameters"],
        ),
        (HEAD + "  - evaluate\n", [f"lane01.yaml:4:5: unknown stage 'evaluate'; allowed: {STAGES}"]),
        ("title: a\ngroup: b\nstages: []\n",
         ["lane01.yaml:3:1: 'stages' must be a list of at least one stage"]),
        ("title: a\ngroup: b\n", ["lane01.yaml:1:1: 'stages' must be a list of at least one stage"]),
        ("- sft\n", ["lane01.yaml:1:1: a lane file is a mapping with title, group, stages"]),
        (
            "titel: a\ngroup: 3\nstages: [sft]\n",
            ["lane01.yaml:1:1: 'title' is missing",
             "lane01.yaml:1:1: unknown name 'titel' (did you mean 'title'?); allowed: title, group, "
             "stages, replicates, engine",
             "lane01.yaml:2:1: group: Input should be a valid string, not 3"],
        ),
    ],
)  # fmt: skip
def test_golden_errors(lanes_folder: Path, tmp_path: Path, text: str, expected: list[str]) -> None:
    assert sorted(explain(lanes_folder, tmp_path, lane01=text)) == sorted(expected)


def test_all_problems_of_all_files_come_at_once(lanes_folder: Path, tmp_path: Path) -> None:
    found = explain(
        lanes_folder, tmp_path,
        lane01="title: a\ntitle: b\n",
        lane02=HEAD + "  - prunne: {keep_layers: 28}\n  - gptq: {scheme: W5A16, dampening: 2}\n",
        lane03=HEAD + "  - sft\n",
        lane04="stages: [sft]\n",
    )  # fmt: skip
    places = [line.split(" ")[0] for line in found]
    assert places == [
        "lane01.yaml:2:1:", "lane02.yaml:4:5:", "lane02.yaml:5:12:", "lane02.yaml:5:27:",
        "lane04.yaml:1:1:", "lane04.yaml:1:1:",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["lane-Ä", "Lane01", "_lane01", "ab", "a" * 65, "baseline"])
def test_names_that_cannot_name_a_lane(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(HEAD + "  - fp8: {scheme: FP8}\n", encoding="utf-8")
    with pytest.raises(InputProblems) as caught:
        load_lane(path, {})
    assert str(caught.value) == (
        f"{path}:1:1: '{name}' cannot name a lane: "
        "use 3 to 64 of a-z, 0-9 and _, not _ first, and not 'baseline'"
    )


@pytest.mark.parametrize("name", ["0_1", "a" * 64, "lane01_baseline"])
def test_names_that_can_name_a_lane(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(HEAD + "  - fp8: {scheme: FP8}\n", encoding="utf-8")
    assert load_lane(path, {}).name == name


def test_a_folder_without_lanes_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_lanes(tmp_path / "nothing", {})
    assert caught.value.message == f"{tmp_path}/nothing: no lane*.yaml files"
    assert caught.value.remedy == "pass the folder of lane files"


def test_a_lane_knows_its_stages_and_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "lane01_x.yaml"
    text = "title: The title\ngroup: A group\nstages:\n  - prune\n  - gptq:\n      scheme: W8A16\n"
    path.write_text(text, encoding="utf-8")
    lane = load_lane(path, {"prune": {"keep_layers": 28}, "gptq": {"dampening": 0.5}})
    gptq = GptqParams(scheme="W8A16", dampening=0.5)
    assert lane == Lane(
        "lane01_x", "The title", "A group",
        (
            LaneStage(STAGE_TYPES["prune"], PruneParams(keep_layers=28), path, 4, 5, {}),
            LaneStage(STAGE_TYPES["gptq"], gptq, path, 5, 5, {"scheme": (6, 7)}),
        ),
    )  # fmt: skip
    places = [stage.locate(name) for stage in lane.stages for name in ("scheme", "dampening")]
    assert places == [f"{path}:{place}" for place in ("4:5", "4:5", "6:7", "5:5")]
    assert lane.stages[1].locate() == f"{path}:5:5"


def test_a_stage_of_no_file_stands_at_its_command() -> None:
    stage = LaneStage(STAGE_TYPES["prune"], PruneParams(keep_layers=28), Path("scripts/02_train.py"), 0)
    assert stage.locate() == stage.locate("keep_layers") == "scripts/02_train.py"


def test_a_faulty_stage_does_not_hide_those_after_it(lanes_folder: Path, tmp_path: Path) -> None:
    stages = ("[sft]", "stf", "sft: 3", "prune: {keep_layers: 0}", "{sft: {}, gptq: {}}", "gtpq")
    lines = "".join(f"  - {stage}\n" for stage in stages)
    assert explain(lanes_folder, tmp_path, lane01=HEAD + lines) == [
        "lane01.yaml:4:5: a stage is one name with its parameters",
        f"lane01.yaml:5:5: unknown stage 'stf' (did you mean 'sft'?); allowed: {STAGES}",
        "lane01.yaml:6:5: the parameters of 'sft' must be a mapping",
        "lane01.yaml:7:13: keep_layers: Input should be greater than 0, not 0",
        "lane01.yaml:8:5: a stage is one name with its parameters",
        f"lane01.yaml:9:5: unknown stage 'gtpq' (did you mean 'gptq'?); allowed: {STAGES}",
    ]


def test_a_lane_wins_over_shared_parameters_and_takes_the_seed(lanes_folder: Path, tmp_path: Path) -> None:
    (lane,) = load(lanes_folder, tmp_path, lane01=HEAD + "  - sft: {steps: 7}\n  - gptq: {scheme: W8A16}\n")
    sft, gptq = (stage.params.model_dump() for stage in lane.stages)
    assert (sft["steps"], sft["lora_rank"], sft["seed"]) == (7, 16, 42)
    assert (gptq["calibration_rows"], gptq["seed"]) == (512, 42)
    assert [stage.line for stage in lane.stages] == [4, 5]


def test_lanes_are_selected_by_name_or_number(lanes_folder: Path) -> None:
    lanes = load_experiment_lanes(lanes_folder / "experiment.yaml")[1]
    assert select_lanes(lanes, []) == lanes
    assert select_lanes(lanes, [], 3) == lanes[:3]
    assert select_lanes(lanes, [], 1) == lanes[:1]
    assert select_lanes(lanes, ["lane04", lanes[0].name, "lane04"]) == [lanes[3], lanes[0]]
    with pytest.raises(InputError) as caught:
        select_lanes(lanes, ["lane04_fp8_dinamic"])
    assert caught.value.message == "unknown lane 'lane04_fp8_dinamic' (did you mean 'lane04_fp8_dynamic'?)"
    assert caught.value.remedy == "known lanes: " + ", ".join(lane.name for lane in lanes)
    with pytest.raises(InputError) as caught:
        select_lanes(lanes, [], 0)
    assert caught.value.message == "--max-lanes must be at least 1, not 0"
    assert caught.value.remedy == "give a number from 1 on, or leave it out"


EXPERIMENT = """name: test
base_model: {name: EXAONE-test, source: ./model}
data:
  manta: {source: ./manta.jsonl}
  kmmlu_pro: {source: ./pro.jsonl}
corpus: {train_rows: 4, validation_rows: 2, calibration_rows: 2}
stage_defaults:
  gptq: {max_length: 128}
evaluation: {engine: transformers}
speed: {}
scoring:
  benchmark_weights: {kmmlu_pro: 1.0}
packaging: {max_zip_bytes: 1000, max_unpacked_bytes: 1000}
"""


def write_experiment(lanes_folder: Path, folder: Path, text: str) -> Path:
    shutil.copytree(lanes_folder / "benchmarks", folder / "benchmarks", dirs_exist_ok=True)
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_local_sources_are_relative_to_the_experiment(lanes_folder: Path, tmp_path: Path) -> None:
    experiment = load_experiment(write_experiment(lanes_folder, tmp_path, EXPERIMENT))
    assert experiment.base_model.source == str(tmp_path / "model")
    assert experiment.data["manta"].source == str(tmp_path / "manta.jsonl")
    assert [b.name for b in experiment.benchmarks] == ["kmmlu_pro"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  gptq: {max_length", "  gtpq: {max_length",
         f"8:3: unknown name 'gtpq' (did you mean 'gptq'?); allowed: {STAGES}"),
        ("{max_length: 128}", "{max_lenght: 128}",
         "8:10: unknown name 'max_lenght' (did you mean 'max_length'?); allowed: " + GPTQ_NAMES),
        ("{max_length: 128}", "{max_length: -1}",
         "8:10: max_length: Input should be greater than 0, not -1"),
        ("  manta:", "  mantra:",
         "3:1: no source for 'manta'\n4:3: unknown name 'mantra' (did you mean 'manta'?); allowed: manta, "
         "general, kmmlu_pro, kmmlu_redux, ko_longrag, komt_bench"),
        ("{kmmlu_pro: 1.0}", "{kmmlu_pro: 1.0, kmmlu_redux: 1.0}", "3:1: no source for 'kmmlu_redux'"),
        ("{kmmlu_pro: 1.0}", "{kmmlu_por: 1.0}",
         "12:23: unknown name 'kmmlu_por' (did you mean 'kmmlu_pro'?); allowed: kmmlu_pro, kmmlu_redux, "
         "ko_longrag, komt_bench"),
        ("{kmmlu_pro: 1.0}", "{kmmlu_pro: 0}", "12:3: no weight may be negative, one must be positive"),
        ("EXAONE-test", "EXAONE/test",
         "2:14: base_model.name: String should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$', "
         "not 'EXAONE/test'"),
        ("engine: transformers", "engine: vlm",
         "9:14: evaluation.engine: unknown value 'vlm' (did you mean 'vllm'?); "
         "allowed: auto, vllm, transformers"),
        ("engine: transformers}",
         "engine: transformers, judge: {url: 'http://j/v1', model: m, api_key_env: sk-1}}",
         "9:74: evaluation.judge.api_key_env: String should match pattern '^LANEKIT_JUDGE_[A-Z0-9_]+$'"),
        ("speed: {}", "speed: {score_form: decode_b9}",
         "10:1: speed: score_form 'decode_b9' is not timed; timed: decode_b1, decode_b8, "
         "decode_b32, decode_b64, decode_b256, prefill, free, benchmark, matched"),
        ("speed: {}", "speed: {}\nbenchmarks: []",
         "11:1: benchmarks stand in files of their own, benchmarks/*.yaml"),
        ("source: ./model", "source: ./model, published_percent: {kmmlu_por: 37.5}",
         "2:70: unknown name 'kmmlu_por' (did you mean 'kmmlu_pro'?); allowed: kmmlu_pro, kmmlu_redux, "
         "ko_longrag, komt_bench"),
        ("source: ./model", "source: ./model, published_percent: {kmmlu_pro: 0.375}",
         "2:70: base_model.published_percent.kmmlu_pro: Input should be greater than 1, not 0.375"),
        ("speed: {}", "speed: {}\nranking: {margin: 1.0}",
         "11:11: ranking.margin: Input should be less than 1, not 1.0"),
        ("speed: {}", "speed: {}\nranking: {margins: 0.01}",
         "11:11: unknown name 'margins' (did you mean 'margin'?); allowed: margin"),
        (EXPERIMENT, "- a list\n", "1:1: an experiment file is a mapping"),
    ],
)  # fmt: skip
def test_golden_errors_of_an_experiment(
    lanes_folder: Path, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert EXPERIMENT.count(old) == 1
    path = write_experiment(lanes_folder, tmp_path, EXPERIMENT.replace(old, new))
    with pytest.raises(InputProblems) as caught:
        load_experiment(path)
    assert str(caught.value).replace(f"{path}:", "") == expected


def test_benchmark_files_are_checked(lanes_folder: Path, tmp_path: Path) -> None:
    path = write_experiment(lanes_folder, tmp_path, EXPERIMENT)
    file = tmp_path / "benchmarks" / "kmmlu_pro.yaml"
    text = file.read_text(encoding="utf-8")
    for old, new, expected in (
        ("{options}", "", "the prompt lacks the place {options}"),
        ("name: kmmlu_pro", "name: kmmlu_redux", "the name 'kmmlu_redux' is not the file's"),
        ("metric: accuracy", "metric: accurracy", "did you mean 'accuracy'?"),
    ):
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InputProblems, match=r"kmmlu_pro\.yaml:\d+:\d+: ") as caught:
            load_experiment(path)
        assert expected in str(caught.value)
    file.unlink()
    with pytest.raises(InputProblems, match=r"kmmlu_pro\.yaml:1:1: cannot be read"):
        load_experiment(path)
