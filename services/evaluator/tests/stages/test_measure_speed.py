"""The stage `measure_speed` on real models: what it records, what it refuses, and the engines it holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines import load_engine
from evaluator.engines.base import Ask
from evaluator.engines.eos import read_eos_ids
from evaluator.engines.residents import (
    check_free_memory,
    check_memory,
    explain_dead_engine,
    explain_failure,
    fit_candidate,
    fit_engine,
)
from evaluator.quality.chat import ChatTokenizer
from evaluator.speed.forms import (
    Timing,
    make_fixed_forms,
)
from evaluator.speed.suite_forms import (
    make_suite_forms,
)
from evaluator.speed.turns import Turns
from evaluator.stages import measure_speed
from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.progress import ignore_progress
from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.results.speed import SpeedResult
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams
from ranker.scoring.score import rank_lanes
from ranker.scoring.sittings import find_unlike_conditions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec(engine_params: EngineParams, benchmarks: dict[str, Benchmark]) -> MeasureSpeedParams:
    short = {"max_new_tokens": 8}
    return MeasureSpeedParams(
        engine=engine_params,
        benchmarks=tuple(benchmarks[n].model_copy(update=short) for n in ("kmmlu_pro", "ko_longrag")),
        batch_sizes=(1, 3),
        prompt_tokens=16,
        decode_tokens=8,
        prefill_tokens=32,
        free_items=5,
        benchmark_items=4,
        budget_s=0,
        score_form="decode_b3",
    )


def test_free_prompts_are_the_suites_own(
    spec: MeasureSpeedParams, tiny_model: Path, suite: Path, benchmarks: dict[str, Benchmark]
) -> None:
    chat = ChatTokenizer(tiny_model)
    form = make_suite_forms(spec, suite, chat, 640)[0]
    assert [len(call) for call in form.calls] == [3, 2]
    assert "2번 마을의 특산물은 무엇인가?" in chat.tokenizer.decode(form.calls[0][1].token_ids)
    with pytest.raises(InputError, match="a prompt has the token"):
        make_suite_forms(spec, suite, chat, 100)
    judged = spec.model_copy(update={"benchmarks": (benchmarks["komt_bench"],)})
    with pytest.raises(InputError, match="no benchmark to run free on"):
        make_suite_forms(judged, suite, chat, 640)


def test_speed_of_two_models(
    spec: MeasureSpeedParams, tiny_model: Path, other_model: Path, suite: Path, tmp_path: Path
) -> None:
    inputs = {"model": other_model, "baseline": tiny_model, "suite": suite}
    measure_speed.run(spec, inputs, tmp_path, ignore_progress)
    result = SpeedResult.model_validate_json((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert tuple(result.forms) == spec.forms == (
        "decode_b1", "decode_b3", "prefill", "free", "benchmark", "matched",
    )  # fmt: skip
    for form in result.forms.values():
        assert len(form.s_per_token_all) == len(form.baseline_s_per_token_all) == 3
        assert form.s_per_token == sorted(form.s_per_token_all)[1]
    scored = result.forms["decode_b3"]
    assert (result.form, result.batch_size, result.prompt_tokens, result.decode_tokens) == (
        "decode_b3", 3, 16, 8,
    )  # fmt: skip
    assert result.s_per_token_all == scored.s_per_token_all
    assert result.baseline_s_per_token_all == scored.baseline_s_per_token_all
    assert (scored.tokens, scored.n_sequences) == (24, 3)
    assert (result.forms["prefill"].tokens, result.forms["prefill"].n_sequences) == (96, 3)
    assert result.device.startswith("cpu: ") and result.gpu == {} and result.bandwidth_bytes_per_s is None
    assert result.cost and result.baseline_cost and result.cost.roofline_ratio is None
    assert result.cost.kernels["q_proj: dense float32"] == 3
    assert result.baseline_cost.kernels["lm_head: dense float32"] == 1
    assert result.cost.kv_cache_dtype == "float32"
    assert result.cost.kv_bytes_per_context_token == 3 * 2 * 64 * 4  # three layers
    assert {bound.verdict for bound in result.cost.bounds.values()} == {""}  # nothing is known of this CPU
    # A layer: q 128·128, k and v 64·128, o 128·128, three of 256·128, norms 2·128 + 2·32; floats of 4 bytes.
    layer = 128 * 128 * 2 + 64 * 128 * 2 + 3 * 256 * 128 + 2 * 128 + 2 * 32
    assert result.baseline_cost.weight_bytes_per_step == 4 * (2 * layer + 640 * 128 + 128)
    assert result.cost.weight_bytes_per_step - result.baseline_cost.weight_bytes_per_step == 4 * layer
    assert str(tmp_path) not in json.dumps(result.engine_arguments)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert not report["one_series"] and report["warnings"] == []
    assert report["sitting"] == result.sitting
    assert any("memory bandwidth" in note for note in report["notes"])


def test_free_running_counts_each_models_own_tokens(
    spec: MeasureSpeedParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    """The counts are those of the engine asked directly, one benchmark at a time."""
    free = spec.model_copy(update={"batch_sizes": (1,), "prefill_tokens": 0, "score_form": "free"})
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    measure_speed.run(free, inputs, tmp_path, ignore_progress)
    result = SpeedResult.model_validate_json((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    chat = ChatTokenizer(tiny_model)
    form = make_suite_forms(free, suite, chat, 640)[0]
    engine = load_engine(tiny_model, fit_engine(free))
    outputs = [
        generation
        for call in form.calls
        for generation in engine.generate(
            [ask.token_ids for ask in call], call[0].max_new_tokens, stop=call[0].stop
        )
    ]
    engine.close()
    expected = sum(output.n_generated for output in outputs)
    assert result.forms["free"].tokens == result.forms["free"].baseline_tokens == expected
    assert 0 < expected <= 5 * 8
    assert (result.form, result.batch_size, result.decode_tokens) == ("free", 5, 0)
    assert result.cost and result.cost.roofline_ratio is None


def end_at_once(model: Path, first_token: int, folder: Path) -> Path:
    """Copy a model with another end-of-turn token: the one that it says first."""
    shutil.copytree(model, folder)
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": first_token}))
    return folder


def test_a_model_that_says_nothing_is_measured(
    spec: MeasureSpeedParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    free = spec.model_copy(update={"free_items": 1, "benchmarks": spec.benchmarks[:1]})
    prompt = make_suite_forms(free, suite, ChatTokenizer(tiny_model), 640)[0].calls[0][0].token_ids
    engine = load_engine(tiny_model, free.engine)
    first = engine.generate([prompt], 1, ignore_eos=True)[0].token_ids[0]
    engine.close()
    silent = end_at_once(tiny_model, first, tmp_path / "silent")
    assert first in read_eos_ids(silent, ChatTokenizer(silent).tokenizer)
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"model": silent, "baseline": tiny_model, "suite": suite}
    measure_speed.run(free, inputs, out, ignore_progress)
    result = SpeedResult.model_validate_json((out / "metrics.json").read_text(encoding="utf-8"))
    assert result.forms["free"].tokens == 1  # the end-of-turn token itself
    assert result.forms["free"].baseline_tokens > 1
    assert result.forms["free"].s_per_token > 0


def test_speed_of_the_baseline_is_one_series(
    spec: MeasureSpeedParams, tiny_model: Path, other_model: Path, suite: Path, tmp_path: Path
) -> None:
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    short = spec.model_copy(update={"free_items": 0, "benchmark_items": 0, "min_repeats": 1})
    results = []
    for name, model in (("base", tiny_model), ("lane", other_model)):
        out = tmp_path / name
        out.mkdir()
        measure_speed.run(short, {**inputs, "model": model}, out, ignore_progress)
        text = (out / "metrics.json").read_text(encoding="utf-8")
        results.append(SpeedResult.model_validate_json(text))
    base, lane = results
    assert base.s_per_token_all == base.baseline_s_per_token_all
    assert base.sitting != lane.sitting
    assert find_unlike_conditions(lane, base) == ""  # alone or beside another, the conditions are the same
    record = LaneRecord(
        lane="baseline",
        benchmarks={"kmmlu_pro": BenchmarkResult(metric="accuracy", version=1, value=0.5)},
        speed=base,
    )
    head = rank_lanes([record], {"kmmlu_pro": 1.0}).lanes[0]
    assert head.speed_norm == 0.0
    assert head.score == 0.5


def test_a_lanes_own_engine_is_the_candidates_alone(
    spec: MeasureSpeedParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    """The baseline's own weights under another engine are another model: both are loaded and timed."""
    eager = spec.engine.model_copy(update={"enforce_eager": True})
    short = spec.model_copy(
        update={"free_items": 0, "benchmark_items": 0, "min_repeats": 1, "candidate_engine": eager}
    )
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    measure_speed.run(short, inputs, tmp_path, ignore_progress)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert not report["one_series"]
    assert report["candidate_engine_parameters"] == report["engine_parameters"] | {"enforce_eager": True}
    assert fit_candidate(spec) == fit_engine(spec) != fit_candidate(short)


def test_a_gpus_sitting_by_hand(spec: MeasureSpeedParams) -> None:
    """Three sequences of 8 tokens at 4 ms each are 96 ms; less 48 ms of prefill, 7 steps. 1.8 GB at 300 GB/s
    take 6 ms of each."""
    forms = make_fixed_forms(spec, [1], seed=1)
    slow, fast = (
        {form.name: [Timing(s, 40 if form.kind == "prefill" else 10)] * 3 for form in forms}
        for s in (0.04, 0.02)
    )
    prompts_s = 0.04 / 40 * 3 * 16
    step_s = (0.004 * 3 * 8 - prompts_s) / 7
    config = {
        "num_hidden_layers": 2, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 640,
    }  # fmt: skip
    described = {"engine": "vllm", "dtype": "bfloat16", "arguments": {"max_model_len": 64}, "kernels": {},
                 "kv_cache_dtype": "fp8"}  # fmt: skip
    sitting = measure_speed.SpeedSitting(
        "s1",
        device="NVIDIA L4",
        device_kind="cuda",
        turns=Turns(forms, [fast, slow]),
        descriptions=[{**described, "weight_bytes_per_step": n} for n in (900_000_000, 1_800_000_000)],
        facts={"name": "NVIDIA L4", "driver": "550.1", "power_limit_w": "72.00"},
        states=[{"sm_clock_mhz": "2000"}, {"sm_clock_mhz": "1990"}],
        configs=[config, config],
    )
    result = measure_speed.summarize_sitting(spec, sitting)
    assert result.baseline_s_per_token == pytest.approx(0.004)
    cache_bytes = 3 * (16 + 4) * 2 * 2 * 64  # three sequences, a mean context of 20, two layers, a byte each
    expected = (1_800_000_000 + cache_bytes) / 300e9 / step_s
    assert result.baseline_cost and result.baseline_cost.roofline_ratio == pytest.approx(expected)
    assert result.baseline_cost.kv_bytes_per_context_token == 2 * 2 * 64
    assert result.cost and result.cost.roofline_ratio == pytest.approx(expected, rel=1e-4)  # half of both
    assert result.cost.roofline_form == "decode_b3" and result.cost.bounds["decode_b3"].host_share is None
    assert result.bandwidth_bytes_per_s == 3e11
    assert result.gpu["sm_clock_mhz_before"] == "2000" and result.gpu["sm_clock_mhz_after"] == "1990"
    assert len(measure_speed.list_notes(result)) == 1
    assert result.warnings == []
    sitting.states[1]["sm_clock_mhz"] = "1500"
    (warning,) = measure_speed.summarize_sitting(spec, sitting).warnings
    assert "the SM clock fell from 2000 to 1500 MHz" in warning


def test_quantized_layers_are_named_and_counted_as_they_lie_in_memory(
    engine_params: EngineParams, tiny_model: Path, quantize: Callable[[str], Path]
) -> None:
    """The transformers engine decompresses: its steps read as much as the dense model's."""
    described = []
    for folder in (tiny_model, quantize("W4A16")):
        engine = load_engine(folder, engine_params)
        described.append(engine.describe())
        engine.close()
    dense, packed = described
    assert packed["weight_bytes_per_step"] == dense["weight_bytes_per_step"]
    assert packed["kernels"]["down_proj: compressed-tensors W4A16 → dense float32"] == 2
    assert packed["kernels"]["lm_head: dense float32"] == 1
    assert packed["arguments"] == dense["arguments"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt_tokens": 2048}, "form decode_b3: 2048 prompt and 8 new tokens exceed max_model_len 2048"),
        ({"prefill_tokens": 2048}, "form prefill: 2048 prompt and 1 new tokens exceed"),
        ({"free_items": 4, "benchmarks": ()}, "no benchmark to run free on"),
    ],
)
def test_what_cannot_be_timed_is_refused_before_loading(
    spec: MeasureSpeedParams, suite: Path, tiny_model: Path, tmp_path: Path, changes: Any, reason: str
) -> None:
    """The model has no weights, so that loading it would fail in another way."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model, ignore=shutil.ignore_patterns("*.safetensors"))
    inputs = {"model": model, "baseline": model, "suite": suite}
    with pytest.raises(InputError, match=reason):
        measure_speed.run(spec.model_copy(update=changes), inputs, tmp_path, ignore_progress)


def test_a_long_benchmark_prompt_is_refused(
    spec: MeasureSpeedParams, suite: Path, tiny_model: Path, tmp_path: Path
) -> None:
    engine = spec.engine.model_copy(update={"max_model_len": 48})
    small = spec.model_copy(update={"engine": engine})
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    with pytest.raises(InputError, match="kmmlu_pro, item q1"):
        measure_speed.run(small, inputs, tmp_path, ignore_progress)


def test_transformers_rounds_its_cache_to_fp8(
    engine_params: EngineParams, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of every layer, at the prompt and at each token after it; nothing where none is asked for."""
    import torch

    from evaluator.engines import fp8_cache

    states = torch.tensor([0.3, -0.3, 500.0, -1e9, 0.0])
    rounded = fp8_cache.round_to_fp8(states)
    assert rounded.tolist() == [0.3125, -0.3125, 448.0, -448.0, 0.0] and rounded.dtype == states.dtype
    widths: list[int] = []
    monkeypatch.setattr(fp8_cache, "round_to_fp8", lambda x: (widths.append(x.shape[-2]), x * 0)[1])
    replies = []
    for dtype, shown in (("auto", "float32"), ("fp8", "fp8 values in float32")):
        engine = load_engine(tiny_model, engine_params.model_copy(update={"kv_cache_dtype": dtype}))
        replies.append(engine.generate([[5, 6, 7, 8]], 3, ignore_eos=True)[0].token_ids)
        assert engine.describe()["kv_cache_dtype"] == shown
        engine.close()
    assert widths == [4] * 2 * 2 + [1] * 2 * 2 * 2  # two layers
    assert replies[0] != replies[1]  # what the cache keeps is what is looked at


def test_models_larger_than_the_gpu_are_refused(spec: MeasureSpeedParams, tiny_model: Path) -> None:
    params = fit_engine(spec)
    assert params.gpu_memory_utilization == spec.engine.gpu_memory_utilization / 2
    assert params.batch_size == 3
    check_memory([tiny_model], params, {"memory_total_mib": "23034"})
    check_memory([tiny_model], params, {})
    with pytest.raises(InputError, match=r"its weights take 0\.0 GiB.*of NVIDIA L4") as caught:
        check_memory([tiny_model], params, {"memory_total_mib": "1", "name": "NVIDIA L4"})
    assert "speed.batch_sizes" in caught.value.remedy


def test_an_engine_waits_for_free_memory() -> None:
    """Too little free memory may be free again later: the job can be tried anew."""
    check_free_memory(0.45, "81559, 36702")
    with pytest.raises(TransientError, match=r"takes 35\.8 GiB \(45%\) .* 79\.6 GiB, and 35\.8 GiB are free"):
        check_free_memory(0.45, "81559, 36701")
    holder = f"{os.getpid()}, 44858"
    with pytest.raises(TransientError, match=rf"are free: pid {os.getpid()} \(.*\) holds 43\.8 GiB"):
        check_free_memory(0.45, "81559, 36701", holder)
    for untold in ("", "[N/A], [N/A]", "81559"):
        check_free_memory(0.9, untold)


def test_an_engine_that_dies_is_explained(spec: MeasureSpeedParams) -> None:
    class EngineDeadError(Exception):
        """vLLM's, by name."""

    fault = pytest.raises(TransientError, match="engine died while it generated: out of memory")
    with fault, explain_failure(spec.engine, 2), explain_dead_engine():
        raise EngineDeadError("out of memory")
    with pytest.raises(ZeroDivisionError), explain_dead_engine():
        raise ZeroDivisionError


def test_memory_that_runs_out_is_explained(spec: MeasureSpeedParams) -> None:
    import torch

    fault = pytest.raises(TransientError, match="do not fit on the GPU together")
    with fault as caught, explain_failure(spec.engine, 2):
        raise torch.OutOfMemoryError("tried to allocate")
    assert "speed.batch_sizes" in caught.value.remedy
    with pytest.raises(LanekitError, match="each of the two models had 85%"), explain_failure(spec.engine, 2):
        raise LanekitError("vLLM does not start")
    with pytest.raises(InputError, match="wrong"), explain_failure(spec.engine, 2):
        raise InputError("wrong")


def test_benchmark_is_one_call_and_matched_is_equal_work(
    spec: MeasureSpeedParams,
    tiny_model: Path,
    other_model: Path,
    suite: Path,
    benchmarks: dict[str, Benchmark],
    tmp_path: Path,
) -> None:
    """Each prompt under its own benchmark's limit; `matched` gives both the baseline's tokens, one by one."""
    long = benchmarks["ko_longrag"].model_copy(update={"max_new_tokens": 12})
    whole = spec.model_copy(update={"benchmarks": (spec.benchmarks[0], long), "score_form": "benchmark"})
    chat = ChatTokenizer(tiny_model)
    form = make_suite_forms(whole, suite, chat, 640)[1]
    (call,) = form.calls
    assert {ask.max_new_tokens for ask in call} == {8, 12} and len(call) == 4
    measure_speed.run(
        whole, {"model": other_model, "baseline": tiny_model, "suite": suite}, tmp_path, ignore_progress
    )
    result = SpeedResult.model_validate_json((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    free, matched = result.forms["benchmark"], result.forms["matched"]
    engine = load_engine(tiny_model, fit_engine(whole))
    said = sum(generation.n_generated for generation in engine.generate_each(call))
    engine.close()
    assert free.baseline_tokens == said
    assert matched.tokens == matched.baseline_tokens == said
    assert free.tokens_per_item == free.tokens / 4
    assert (result.form, result.batch_size, result.decode_tokens) == ("benchmark", 4, 0)
    assert result.ratio == free.ratio and free.ratio_low and free.ratio_low < free.ratio
    assert result.shapes and result.warnings == []


def test_each_prompt_is_answered_under_its_own_limit(engine_params: EngineParams, tiny_model: Path) -> None:
    engine = load_engine(tiny_model, engine_params)
    chat = ChatTokenizer(tiny_model)
    prompts = [chat.encode_chat([{"role": "user", "content": f"{n}번 마을?"}]) for n in range(5)]
    asks = [Ask(prompt, 3 + n, is_exact=n % 2 == 0) for n, prompt in enumerate(prompts)]
    found = engine.generate_each(asks)
    for n, (ask, generation) in enumerate(zip(asks, found, strict=True)):
        alone = engine.generate([ask.token_ids], ask.max_new_tokens, ignore_eos=ask.is_exact)[0]
        assert generation.token_ids == alone.token_ids, n
        assert len(generation.token_ids) <= 3 + n
    assert [len(found[n].token_ids) for n in (0, 2, 4)] == [3, 5, 7]
    assert engine.generate_each([]) == []
    engine.close()
