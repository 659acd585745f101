"""Bad input on the command line: a clear error, no traceback, nothing lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, Runner, make_environment
from filelock import FileLock
from processes import find_closed_port

from lanekit.commands import adhoc
from lanekit.errors import InputError

BAD_INPUT = 2


def check_error(text: str, *parts: str) -> None:
    assert "Traceback" not in text
    for part in parts:
        assert part in " ".join(text.split()), text


def test_an_unknown_lane_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("run_all.py", "--only", "lane01_gptq_w4a61", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown lane 'lane01_gptq_w4a61' (did you mean 'lane01_gptq_w4a16'?)")


def test_an_unknown_scheme_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("03_quantize.py", "--scheme", "W4A61", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown scheme 'W4A61' (did you mean 'W4A16'?)")


def test_all_problems_of_lane_files_come_at_once(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    (lanes / "lane01_gptq_w4a16.yaml").write_text(
        "title: a\ntitle: b\ngroup: g\nstages: [gptq]\n", encoding="utf-8"
    )
    (lanes / "lane02_gptq_w4a16_damp.yaml").write_text(
        "title: a\ngroup: g\nstages:\n  - gptq: {scheme: W4A61, damping: 0.1}\n", encoding="utf-8"
    )
    options = ("--experiment", str(lanes / "experiment.yaml"))
    done = run_script("run_all.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(
        done.stderr,
        "lane01_gptq_w4a16.yaml:2:1: duplicate key 'title' (first on line 1)",
        "lane02_gptq_w4a16_damp.yaml:4:12: scheme: unknown value 'W4A61' (did you mean 'W4A16'?)",
        "unknown name 'damping' (did you mean 'dampening'?)",
    )
    assert not (tmp_path / ".lanekit").exists()


def test_keep_layers_above_the_models_is_found_before_any_work(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    lane = lanes / "lane10_prune28_kd_w4a16.yaml"
    lane.write_text(lane.read_text(encoding="utf-8").replace("28}", "31}"), encoding="utf-8")
    options = ("--experiment", str(lanes / "experiment.yaml"))
    done = run_script("run_all.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(
        done.stderr, "lane10_prune28_kd_w4a16.yaml:4:13: keep_layers is 31, but the model has 30 layers"
    )


def test_a_missing_data_file_names_the_way_out(run_script: Runner, tmp_path: Path) -> None:
    options = ("--source", "manta=./nowhere.jsonl")
    done = run_script("01_prepare_data.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "nowhere.jsonl: no such file", "remedy:")


def test_an_unknown_data_set_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    options = ("--source", "kmmlu_por=./a.jsonl")
    done = run_script("01_prepare_data.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown data set 'kmmlu_por' (did you mean 'kmmlu_pro'?)")


def test_an_unknown_parameter_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    options = ("--mode", "sft", "--set", "stepps=3")
    done = run_script("02_finetune_sft.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown name 'stepps' (did you mean 'steps'?)")


def test_a_model_is_not_distilled_from_itself(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("02_finetune_sft.py", "--mode", "kd", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "would distil a model from itself", "--keep-layers", "--teacher")


def test_a_store_that_cannot_be_written_is_refused(run_script: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    done = run_script("run_all.py", "--store", "file/store", cwd=tmp_path, expect=1)
    check_error(done.stderr, "the store", "is not writable", "--store")


def test_a_store_in_use_is_refused(run_script: Runner, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with FileLock(tmp_path / "store" / ".run.lock"):
        done = run_script("run_all.py", "--store", "store", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "another run uses the store", "remedy:")


def test_nothing_to_rank_says_what_to_run(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("05_rank_and_package.py", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "no results to rank", "04_eval_vllm.py")


@pytest.mark.parametrize("script", ["run_all.py", "enqueue_lane.py", "00_setup_check.py"])
def test_a_wrong_variable_is_one_line(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script)], cwd=tmp_path, check=False, capture_output=True,
        env={**make_environment(), "LANEKIT_SLOTS": "abc"}, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT
    check_error(done.stderr, "LANEKIT_SLOTS=abc: input should be a valid integer", "correct the variable")


@pytest.mark.parametrize(
    "script",
    ["00_setup_check.py", "01_prepare_data.py", "02_finetune_sft.py", "03_quantize.py", "04_eval_vllm.py",
     "05_rank_and_package.py", "run_all.py", "make_tiny_data.py", "make_tiny_model.py", "make_env.py",
     "enqueue_lane.py", "status.py", "cancel.py", "retry.py", "fetch.py"],
)  # fmt: skip
def test_help_teaches(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--help"],
        env=make_environment(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"python scripts/{script}" in done.stdout, "the help shows how the command is called"


def copy_lanes(experiment: Path, folder: Path) -> tuple[str, str]:
    """Copy the experiment's folder and return the option that names the copy."""
    shutil.copytree(experiment.parent, folder / "lanes")
    return "--experiment", str(folder / "lanes" / "experiment.yaml")


def test_all_that_stands_in_the_way_of_the_first_stage_comes_at_once(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    options = copy_lanes(experiment, tmp_path)
    model = tmp_path / "model"
    shutil.copytree(ROOT / "scripts" / "tiny" / "fixture", model)
    (model / "LICENSE").unlink()
    path = model / "tokenizer_config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("PreTrainedTokenizerFast", "TokenizersBackend"),
        encoding="utf-8",
    )
    settings = Path(options[1]).read_text(encoding="utf-8")
    settings = settings.replace(str(ROOT / "scripts" / "tiny" / "fixture"), str(model))
    settings, count = re.subn(r"\bdecode_tokens: \d+", "decode_tokens: 5000", settings)
    assert count == 1
    Path(options[1]).write_text(settings, encoding="utf-8")
    for name, stages in (("lane20_x", "[distill]"), ("lane21_x", "[sft: {steps: yes}]")):
        text = f"title: a\ngroup: b\nstages: {stages}\n"
        (tmp_path / "lanes" / f"{name}.yaml").write_text(text, encoding="utf-8")
    parts = (
        "lane21_x.yaml:3:16: steps: a number is wanted, not true",
        "the base model has no LICENSE file",
        'the tokenizer\'s class "TokenizersBackend" is not known',
        "'distill' would train the base model towards itself",
        "5000 new tokens exceed max_model_len",
    )
    for command in (("run_all.py", "--plan"), ("run_all.py",)):
        done = run_script(*command, *options, cwd=tmp_path, expect=BAD_INPUT)
        check_error(done.stderr, "5 faults stand in the way of the first stage", *parts)
    stack = ("--env-file", "nowhere/.env", "--all")  # what the stack lacks is told with them
    done = run_script("enqueue_lane.py", *stack, *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "6 faults stand in the way", "nowhere/.env: no such file", *parts)
    done = run_script("00_setup_check.py", *options, cwd=tmp_path, expect=1)
    check_error(done.stdout, *parts)
    assert not (tmp_path / ".lanekit").exists()


def test_a_lane_file_that_is_passed_over_is_told_and_the_plan_goes_on(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    options = copy_lanes(experiment, tmp_path)
    lanes = tmp_path / "lanes"
    shutil.copy(lanes / "lane01_gptq_w4a16.yaml", lanes / "lane90_mine.yml")
    done = run_script("run_all.py", "--plan", *options, cwd=tmp_path)
    check_error(
        done.stderr, "lane90_mine.yml: this lane file is not read", "rename it, e.g. to lane90_mine.yaml"
    )
    assert "13 lanes ask for" in done.stdout
    done = run_script("run_all.py", "--plan", "--only", "lane90", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown lane 'lane90'", "lane90_mine.yml: this lane file is not read")


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("run_all.py", "--plan", "--only", ","), ("--only ',' names no lane",)),
        (("enqueue_lane.py", "--only", ","), ("--only ',' names no lane",)),
        (("run_all.py", "--plan", "--only", "lane4"), ("did you mean 'lane04_fp8_dynamic'?",)),
        (("run_all.py", "--plan", "--replicates", "3"), ("is for lanes that are named", "--only lane01")),
        (("run_all.py", "--plan", "--only", "lane01", "--replicates", "0"), ("must be from 1 to 32",)),
        (("run_all.py", "--plan", "--only", "lane01,lane04", "--replicates", "2"),
         ("lane04_fp8_dynamic is to have 2 replicates", "remedy: take replicates out")),
        (("enqueue_lane.py", "--all", "--replicates", "3"), ("name the finalists: LANE…",)),
        (("03_quantize.py", "--lane", "lane01", "--dampening", "0"), ("parameters stand in its file",)),
        (("03_quantize.py", "--scheme", "FP8_DYNAMIC", "--dampening", "0"), ("--dampening belongs to GPTQ",)),
        (("03_quantize.py", "--scheme", "FP8", "--round"), ("--round belongs to the integer schemes",)),
        (("03_quantize.py", "--scheme", "W8A8", "--round", "--dampening", "0.1"), ("rounding has none",)),
        (("03_quantize.py", "--lane", "lane01", "--round"), ("parameters stand in its file",)),
        (("03_quantize.py", "--scheme", "FP8_DYNAMIC", "--set", "format=modelopt"),
         ("fp8: format modelopt has static scales alone; take scheme: FP8",)),
        (("03_quantize.py", "--scheme", "W8A16", "--dampening", "0"),
         ("dampening: Input should be greater than 0",)),
        (("03_quantize.py", "--scheme", "W8A16", "--set", "calibration_rows=5000"),
         ("'gptq' asks for 5000 calibration rows, corpus.calibration_rows is 32",)),
        (("02_finetune_sft.py", "--mode", "sft", "--keep-layers", "0"), ("belong to --mode kd",)),
        (("02_finetune_sft.py", "--mode", "kd", "--keep-layers", "0"), ("keep_layers: Input should be",)),
        (("02_finetune_sft.py", "--mode", "kd", "--keep-layers", "30"),
         ("keep_layers is 30, but the model has 30 layers",)),
        (("02_finetune_sft.py", "--mode", "sft", "--set", "seed=-1"), ("seed: Input should be",)),
        (("02_finetune_sft.py", "--mode", "sft", "--set", "target_modules=[qproj]"),
         ("no linear layer 'qproj' to adapt (did you mean 'q_proj'?)",)),
    ],
)  # fmt: skip
def test_options_that_ask_for_what_cannot_be(
    run_script: Runner, tmp_path: Path, command: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = run_script(*command, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, *parts, "remedy:")
    assert not (tmp_path / ".lanekit").exists()


@pytest.mark.parametrize(
    "value", ["ignore=[lm_head", "ignore={", "dampening=: :", "ignore=*x", "ignore=!!python/object:os.system",
              "steps=2026-13-45", "seed=" + "1" * 5000, "ignore=!!bool maybe", "ignore=" + "[" * 3000]
)  # fmt: skip
def test_a_set_option_that_is_no_yaml_is_named(value: str) -> None:
    with pytest.raises(InputError, match="not readable") as caught:
        adhoc.make_params("gptq", {}, [value])
    assert caught.value.message.startswith(f"--set {value}") and "YAML" in caught.value.remedy


@pytest.mark.parametrize(
    ("source", "name"),
    [(".", "model-v1.5"), ("../Model-v1.5/", "model-v1.5"), ("한국어 모델", "model"), ("-x", "x"),
     ("/", "model"),
     ("LGAI-EXAONE/EXAONE-4.0-1.2B", "exaone-4.0-1.2b")],
)  # fmt: skip
def test_a_models_name_begins_with_no_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    for folder in ("Model-v1.5/한국어 모델", "Model-v1.5/-x"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "Model-v1.5")
    assert adhoc.name_model(source) == name


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        (
            "01_prepare_data.py",
            ("--source", "kmmlu_pro=kmlu.parquet"),
            "kmlu.parquet: no such file or folder",
        ),
        ("01_prepare_data.py", ("--source", "kmmlu_pro=C:\\\\data\\\\k.jsonl"), "no such file or folder"),
        ("04_eval_vllm.py", ("--model", "sft-w4"), "sft-w4: no such file or folder (did you mean 'sft-w8'?)"),
    ],
)
def test_a_typed_path_is_never_asked_of_the_hub(
    run_script: Runner, tmp_path: Path, script: str, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "sft-w8").mkdir()
    done = run_script(script, *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, words, "remedy: correct the path")


def list_tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_a_tracker_that_cannot_be_told_is_said_at_the_start_and_stops_nothing(
    run_script: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEKIT_MLFLOW_URI", f"http://me:hunter2@127.0.0.1:{find_closed_port()}")
    done = run_script("run_all.py", "--plan", "--only", "lane01", cwd=tmp_path)
    assert done.stderr.count("! LANEKIT_MLFLOW_URI: ") == 1 and "remedy: " in done.stderr
    assert "run " in done.stdout and "hunter2" not in done.stderr


def test_a_plan_writes_nothing_and_takes_no_lock(run_script: Runner, tmp_path: Path) -> None:
    (tmp_path / "hpc" / "scratch" / "thesis-data").mkdir(parents=True)
    (tmp_path / "hpc" / "scratch" / "thesis-data" / "results.csv").write_text("mine", encoding="utf-8")
    with FileLock(tmp_path / "hpc" / ".run.lock"):
        before = list_tree(tmp_path)
        for store in ("hpc", "absent"):
            done = run_script("run_all.py", "--plan", "--only", "lane01", "--store", store, cwd=tmp_path)
            assert "2 lanes ask for" in done.stdout
        assert list_tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["submissions/top1/thesis.txt", "submissions/submit_top3.zip", "results/summary.md"]
)
def test_what_others_wrote_is_refused_before_any_work(run_script: Runner, tmp_path: Path, name: str) -> None:
    for place in (name, "submissions/top10-papers/thesis.txt", "submissions/top2_old/a"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("mine", encoding="utf-8")
    before = list_tree(tmp_path)
    done = run_script("run_all.py", "--plan", "--only", "lane01", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, name.partition("/")[2], "remedy: move it away, or pass another --")
    assert list_tree(tmp_path) == before


def test_an_empty_store_is_not_the_working_folder(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("run_all.py", "--plan", "--store", "", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "--store: it is empty")
    assert list_tree(tmp_path) == []


@pytest.mark.parametrize("encoding", ["ascii", "euc-kr"])
@pytest.mark.parametrize("script", ["00_setup_check.py", "compare_lanes.py", "run_all.py", "make_env.py"])
def test_help_is_shown_in_any_encoding(script: str, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--help"], check=False, capture_output=True,
        timeout=120, env={**make_environment(), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0 and b"Traceback" not in done.stderr
