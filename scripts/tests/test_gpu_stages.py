"""Every training and quantization stage on CUDA, the tiny model, and vLLM on what they make.

Kernels are those that vLLM 0.14.1 picks by itself; the table below holds for compute capability 9.0.
"""

from __future__ import annotations

import gc
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from gpu_testing import FIXTURE, GPU_TESTS, run_stage, set_and_restore_scales, share_equal

from evaluator.engines import load_engine
from evaluator.engines.base import Generation
from evaluator.quality.chat import ChatTokenizer
from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildProcess
from lanekit.files.hashing import hash_file, list_files
from lanekit.files.model_folder import STAGE_FILES
from lanekit.files.safetensors_header import read_header
from lanekit.host.checkout import find_project_root
from lanekit.host.gpu_query import read_memory_mib
from lanekit.results.screen import ScreenResult
from lanekit.results.speed import SpeedResult
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams, VerifyPackageParams
from lanekit.spec.experiment_file import load_benchmark
from lanekit.spec.params import DistillParams, Parameters, PostSftParams, PruneParams, SftParams
from lanekit.spec.quantization import (
    AutoRoundParams,
    AwqParams,
    Fp8Params,
    Fp8Scheme,
    GptqParams,
    GptqScheme,
    QuantizeParams,
    RoundParams,
    RoundScheme,
)
from lanekit.spec.screen import CompareLogitsParams
from tiny.datasets import load_rows
from tiny.prompts import fill_choice_prompt, fill_rag_prompt

pytestmark = GPU_TESTS

ROUNDED = {f"round {scheme}": scheme for scheme in get_args(RoundScheme)}
KV8, MODELOPT, KEPT = "FP8 ModelOpt KV8", "FP8 ModelOpt", "W4A16 keep"
FP8_FORMATS: dict[str, dict[str, Any]] = {
    MODELOPT: {"format": "modelopt"},
    KV8: {"format": "modelopt", "kv_cache": "fp8"},
}
KEPT_LAYERS = (0, 1, 26)
N_LAYERS = 30
CALIBRATION: dict[str, Any] = {"calibration_rows": 16, "max_length": 256}
# Other ways to the same schemes, by a name of their own.
OTHER_STAGES: dict[str, tuple[str, QuantizeParams]] = {
    "awq W4A16": ("awq", AwqParams(scheme="W4A16", **CALIBRATION)),
    "autoround W4A16": (
        "autoround",
        AutoRoundParams(scheme="W4A16", iterations=8, calibration_rows=32, max_length=128),
    ),
    "awq W4A16_ASYM": ("awq", AwqParams(scheme="W4A16_ASYM", **CALIBRATION)),
}
SCHEMES = (*get_args(GptqScheme), *get_args(Fp8Scheme), *ROUNDED, *FP8_FORMATS, *OTHER_STAGES, KEPT)
TRAINING: dict[str, Any] = {"steps": 4, "learning_rate": 1e-4, "batch_size": 8, "max_length": 256}
ENGINE = EngineParams(
    engine="vllm", max_model_len=1024, batch_size=64, enforce_eager=True, gpu_memory_utilization=0.1
)
NEW_TOKENS = 24
PROMPTS = 48  # of each benchmark
# The least share of equal tokens. Both engines multiply in bfloat16, in another order and by other kernels;
# with quantized activations a rounding that turns out otherwise weighs more.
LEAST_EQUAL = {
    "FP8": 0.85, "FP8_DYNAMIC": 0.85, "W8A8": 0.85, "round W8A8": 0.85, MODELOPT: 0.85, KV8: 0.85,
}  # fmt: skip
LEAST_EQUAL_ELSEWHERE = 0.92
HOPPER_KERNELS = {
    "dense": "UnquantizedLinearMethod",
    "W4A16": "MacheteLinearKernel",
    "W4A16_ASYM": "MacheteLinearKernel",
    "W8A16": "MacheteLinearKernel",
    "W8A8": "CutlassScaledMMLinearKernel",
    "FP8": "Fp8LinearOp:cutlass",
    "FP8_DYNAMIC": "Fp8LinearOp:cutlass",
    **dict.fromkeys(OTHER_STAGES, "MacheteLinearKernel"),
    MODELOPT: "Fp8LinearOp:cutlass",
    KV8: "Fp8LinearOp:cutlass",
    KEPT: "MacheteLinearKernel",
}
HOPPER_KERNELS |= {name: HOPPER_KERNELS[scheme] for name, scheme in ROUNDED.items()}


@pytest.fixture(scope="module", autouse=True)
def warm_engines() -> Iterator[None]:
    """Let engines sleep and stay between stages, which is off by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANEKIT_WARM_ENGINES", "1")
        yield


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[str], ChildProcess]]:
    """Give one warm child a service, as long as the tests of this file run."""
    children: dict[str, ChildProcess] = {}

    def get(service: str) -> ChildProcess:
        if service not in children:
            children[service] = ChildProcess(service, make_child_environment())
        return children[service]

    yield get
    for child in children.values():
        child.release()


@pytest.fixture(scope="module")
def corpus(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus artifact's folder."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = load_rows(data_folder / "manta.jsonl")
    for name, part in {"train": rows[:64], "validation": rows[64:80], "calibration": rows[:32]}.items():
        lines = (json.dumps(row, ensure_ascii=False) for row in part)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def choose_stage(scheme: str) -> tuple[str, Parameters]:
    """Return the stage that makes what one of SCHEMES names, and its parameters."""
    if scheme in OTHER_STAGES:
        return OTHER_STAGES[scheme]
    if scheme in ROUNDED:
        return "round", RoundParams.model_validate({"scheme": ROUNDED[scheme]})
    if scheme in FP8_FORMATS:
        return "fp8", Fp8Params.model_validate({"scheme": "FP8", **FP8_FORMATS[scheme], **CALIBRATION})
    if scheme in get_args(Fp8Scheme):
        return "fp8", Fp8Params.model_validate({"scheme": scheme, **CALIBRATION})
    keep = {"keep": {"layers": KEPT_LAYERS}} if scheme == KEPT else {}
    return "gptq", GptqParams.model_validate({"scheme": scheme.split()[0], **keep, **CALIBRATION})


@pytest.fixture(scope="module")
def quantize(
    start: Callable[[str], ChildProcess], corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return the tiny model's folder in a scheme, quantized on the GPU once."""
    made: dict[str, Path] = {"dense": FIXTURE}

    def get(scheme: str) -> Path:
        if scheme not in made:
            out = tmp_path_factory.mktemp("models") / scheme.replace(" ", "_")
            stage, spec = choose_stage(scheme)
            run_stage(start("quantizer"), stage, spec, {"model": FIXTURE, "corpus": corpus}, out)
            made[scheme] = out
        return made[scheme]

    return get


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_is_quantized_and_keeps_one_head(quantize: Callable[[str], Path], scheme: str) -> None:
    names = read_header(quantize(scheme) / "model.safetensors").tensors
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


def test_quantizing_twice_gives_the_same_bytes(
    quantize: Callable[[str], Path], start: Callable[[str], ChildProcess], corpus: Path, tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    spec = GptqParams(scheme="W4A16", **CALIBRATION)
    inputs = {"model": FIXTURE, "corpus": corpus}
    run_stage(start("quantizer"), "gptq", spec, inputs, tmp_path / "again")
    once, again = (
        hash_file(folder / "model.safetensors") for folder in (quantize("W4A16"), tmp_path / "again")
    )
    record_property("bit_identical", once == again)
    assert read_header(quantize("W4A16") / "model.safetensors").tensors.keys() == (
        read_header(tmp_path / "again" / "model.safetensors").tensors.keys()
    )


TRAINED: list[tuple[str, Parameters]] = [
    ("sft", SftParams(**TRAINING)),
    ("prune", PruneParams(keep_layers=28, calibration_rows=8, max_length=256)),
    ("distill", DistillParams(**TRAINING)),
    ("post_sft", PostSftParams(**TRAINING)),
]


@pytest.mark.parametrize(("stage", "spec"), TRAINED, ids=[stage for stage, _ in TRAINED])
def test_a_training_stage_computes_on_the_gpu(
    start: Callable[[str], ChildProcess], quantize: Callable[[str], Path], corpus: Path, tmp_path: Path,
    stage: str, spec: Parameters,
) -> None:  # fmt: skip
    model = quantize("W4A16") if stage == "post_sft" else FIXTURE
    inputs = {"model": model, "corpus": corpus, "teacher": FIXTURE}
    report = run_stage(start("trainer"), stage, spec, inputs, tmp_path / "out")
    assert report["peak_gpu_bytes"] > 6_000_000  # the model's own weights at least
    assert "lm_head.weight" not in read_header(tmp_path / "out" / "model.safetensors").tensors
    if stage != "prune":
        assert report["device"] == "cuda:0"
        assert report["loss_curve"]
    if stage == "post_sft":
        assert report["norms"] > 0
        assert report["tensors_bit_identical"] >= 30 * 7


def make_speed() -> MeasureSpeedParams:
    """Return a short timing with the engine as a run has it: compiled, CUDA graphs, 85 % of the memory."""
    return MeasureSpeedParams(
        engine=EngineParams(engine="vllm", max_model_len=1024, batch_size=8),
        batch_sizes=(1, 8), prompt_tokens=64, decode_tokens=32, prefill_tokens=128, free_items=0,
        benchmark_items=0, budget_s=0, min_repeat_s=0, score_form="decode_b8",
    )  # fmt: skip


def test_two_models_take_turns_with_the_whole_memory(
    start: Callable[[str], ChildProcess], quantize: Callable[[str], Path], data_folder: Path, tmp_path: Path
) -> None:
    """One sleeps while the other works: each has the KV cache that it would have alone."""
    spec = make_speed()
    assert spec.engine.gpu_memory_utilization == 0.85
    inputs = {"model": quantize("W4A16"), "baseline": FIXTURE, "suite": data_folder}
    report = run_stage(start("evaluator"), "measure_speed", spec, inputs, tmp_path / "speed")
    result = SpeedResult.model_validate_json((tmp_path / "speed" / "metrics.json").read_text("utf-8"))
    assert len(report["load_seconds"]) == 2
    assert report["candidate"]["engine"]["sleep_mode"] is True
    assert result.engine_arguments["gpu_memory_utilization"] == 0.85
    assert result.engine_arguments["enforce_eager"] is False
    assert result.cost and result.baseline_cost
    assert result.cost.weight_bytes_per_step < result.baseline_cost.weight_bytes_per_step
    assert any("Unquantized" in name for name in result.baseline_cost.kernels)
    assert result.gpu["driver"] and not result.is_cpu
    total_bytes = int(result.gpu["memory_total_mib"]) << 20
    token_bytes = 2 * 2 * read_kv_width(FIXTURE)  # keys and values of all layers, in bfloat16
    for cost in (result.cost, result.baseline_cost):
        assert cost.max_num_seqs == 8
        assert cost.kv_cache_tokens and cost.kv_cache_tokens * token_bytes > 0.7 * total_bytes
    for form in result.forms.values():
        assert len(form.s_per_token_all) == 3 and min(form.s_per_token_all) > 0


def read_kv_width(model: Path) -> int:
    """Return the width of all layers' keys together."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return int(config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"])


def test_one_child_starts_a_lanes_engine_once(
    start: Callable[[str], ChildProcess], quantize: Callable[[str], Path], data_folder: Path, tmp_path: Path
) -> None:
    """Evaluation, timing and verification of its package, and the baseline's stays for the next lane."""
    speed, model = make_speed(), quantize("W8A8")
    benchmark = load_benchmark(find_project_root() / "lanes" / "benchmarks" / "kmmlu_pro.yaml")
    short = benchmark.model_copy(update={"max_prompt_tokens": None})
    quality = EvaluateParams(engine=speed.engine, benchmarks=(short,), limit_items=PROMPTS)
    package = tmp_path / "package"
    package.mkdir()
    with zipfile.ZipFile(package / "submit.zip", "w") as archive:
        for path in list_files(model):
            if path.name not in STAGE_FILES:
                archive.write(path, path.relative_to(model))
        if not (model / "LICENSE").exists():
            archive.writestr("LICENSE", "licence")
    child = start("evaluator")
    inputs = {"model": model, "baseline": FIXTURE, "suite": data_folder}
    evaluated = run_stage(child, "evaluate", quality, inputs, tmp_path / "quality")
    timed = run_stage(child, "measure_speed", speed, inputs, tmp_path / "speed")
    verify = VerifyPackageParams(engine=speed.engine)
    packed = {"package": package}
    verified = run_stage(child, "verify_package", verify, packed, tmp_path / "verify", "verification.json")
    again = run_stage(child, "evaluate", quality, inputs, tmp_path / "again")
    assert [report["engine_starts"] for report in (evaluated, verified, again)] == [1, 0, 0]
    assert timed["engine_starts"] <= 1 and timed["load_seconds"][0] < 2  # the baseline's, if it was not there
    for name in ("metrics.json", "items.parquet"):
        assert hash_file(tmp_path / "again" / name) == hash_file(tmp_path / "quality" / name)


@pytest.mark.parametrize("kv_cache_dtype", ["auto", "fp8"])
def test_a_woken_engine_says_what_it_said(prompts: list[list[int]], kv_cache_dtype: str) -> None:
    params = ENGINE.model_copy(update={"kv_cache_dtype": kv_cache_dtype})
    engine: Any = load_engine(FIXTURE, params)
    try:
        assert engine.can_sleep
        before = engine.generate(prompts, NEW_TOKENS)
        used_awake = read_memory_mib()
        engine.sleep()
        used_asleep = read_memory_mib()
        engine.wake()
        after = engine.generate(prompts, NEW_TOKENS)
        scales = engine.llm.collective_rpc(set_and_restore_scales)[0]
    finally:
        engine.close()
    assert share_equal(before, after) == 1.0
    assert used_awake and used_asleep and used_asleep[1] - used_awake[1] > 0.05 * used_awake[0]
    assert scales == [0.25] * len(scales) and len(scales) == 2 * 30


@pytest.mark.parametrize("scheme", ["W4A16", "W8A8", "FP8_DYNAMIC"])
def test_a_screen_on_the_gpu_is_that_of_the_cpu(
    start: Callable[[str], ChildProcess], quantize: Callable[[str], Path], corpus: Path, tmp_path: Path,
    scheme: str,
) -> None:  # fmt: skip
    inputs = {"model": quantize(scheme), "base": FIXTURE, "corpus": corpus}
    found = []
    for device in ("cuda", "cpu"):
        spec = CompareLogitsParams.model_validate({"max_tokens": 48, "device": device})
        report = run_stage(start("evaluator"), "compare_logits", spec, inputs, tmp_path / device)
        assert report["engines"]["model"]["device"].startswith("cpu: ") is (device == "cpu")
        metrics = (tmp_path / device / "metrics.json").read_text("utf-8")
        found.append(ScreenResult.model_validate_json(metrics))
    gpu, cpu = found
    assert gpu.text == cpu.text and cpu.kl_mean > 0
    assert gpu.kl_mean == pytest.approx(cpu.kl_mean, rel=0.1)
    assert gpu.ppl_ratio == pytest.approx(cpu.ppl_ratio, rel=0.01)


@pytest.fixture(scope="module")
def prompts(data_folder: Path) -> list[list[int]]:
    """Benchmark prompts as tokens: choices, and questions about documents, with longer replies."""
    chat = ChatTokenizer(FIXTURE)
    choices = load_rows(data_folder / "kmmlu_pro.jsonl")[:PROMPTS]
    texts = [fill_choice_prompt("kmmlu_pro", row["question"], row["options"]) for row in choices]
    texts += [fill_rag_prompt(row) for row in load_rows(data_folder / "ko_longrag.jsonl")[:PROMPTS]]
    return [chat.encode_chat([{"role": "user", "content": text}]) for text in texts]


def generate(
    folder: Path, params: EngineParams, prompts: list[list[int]]
) -> tuple[list[Generation], dict[str, Any]]:
    """Load a model, answer all prompts, close it."""
    import torch

    engine = load_engine(folder, params)
    try:
        return engine.generate(prompts, NEW_TOKENS), engine.describe()
    finally:
        engine.close()
        del engine
        gc.collect()
        torch.cuda.empty_cache()  # what torch keeps, the next engine cannot have


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep vLLM's engine in this process: many are started here, and a process of its own takes longer."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


@pytest.mark.parametrize("scheme", ["dense", *SCHEMES])
@pytest.mark.usefixtures("in_process")
def test_vllm_says_what_transformers_says(
    quantize: Callable[[str], Path], prompts: list[list[int]], scheme: str,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    import torch

    folder = quantize(scheme)
    ours, about = generate(folder, ENGINE, prompts)
    others, _ = generate(folder, ENGINE.model_copy(update={"engine": "transformers"}), prompts)
    share = share_equal(ours, others)
    kernels = about["kernels"]
    record_property("equal_tokens", round(share, 4))
    print(f"\n{scheme}: {share:.4f} of {sum(len(o.token_ids) for o in ours)} tokens equal; {kernels}")
    assert share >= LEAST_EQUAL.get(scheme, LEAST_EQUAL_ELSEWHERE)
    assert about["kv_cache_dtype"] == ("fp8_e4m3" if scheme == KV8 else "bfloat16")  # nothing asks for it
    n_kept = len(KEPT_LAYERS) if scheme == KEPT else 0
    for layer in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
        served = [name for name in kernels if name.startswith(f"{layer}: ")]
        kept = [name for name in served if name.endswith("UnquantizedLinearMethod")] if n_kept else []
        (packed,) = set(served) - set(kept)
        assert kernels[packed] == N_LAYERS - n_kept and sum(kernels[name] for name in kept) == n_kept
        if torch.cuda.get_device_capability() == (9, 0):
            assert packed.endswith(HOPPER_KERNELS[scheme])


@pytest.mark.usefixtures("in_process")
def test_an_fp8_kv_cache_is_used_and_says_nearly_the_same(prompts: list[list[int]]) -> None:
    ours, about = generate(FIXTURE, ENGINE.model_copy(update={"kv_cache_dtype": "fp8"}), prompts)
    others, _ = generate(FIXTURE, ENGINE, prompts)
    share = share_equal(ours, others)
    print(f"\nfp8 KV cache: {share:.4f} of the tokens equal")
    assert about["kv_cache_dtype"].startswith("fp8")
    assert share >= LEAST_EQUAL["FP8"]


def read_cache_scales(model: Any) -> dict[str, tuple[float, float]]:
    """Return the scales of each attention's cache; runs inside vLLM."""
    return {
        name: (float(module._k_scale), float(module._v_scale))
        for name, module in model.named_modules()
        if hasattr(module, "_k_scale")
    }


@pytest.mark.usefixtures("in_process")
def test_vllm_takes_the_cache_scales_of_the_package(
    quantize: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    """vLLM passes over scales under names that it does not know, and takes 1 instead."""
    import torch
    from safetensors.torch import load_file

    folder = quantize(KV8)
    stored = load_file(folder / "model.safetensors")
    engine: Any = load_engine(folder, ENGINE)
    try:
        (found,) = engine.llm.apply_model(read_cache_scales)
    finally:
        engine.close()
        del engine
        gc.collect()
        torch.cuda.empty_cache()
    wanted = {
        f"model.layers.{layer}.self_attn.attn": tuple(
            float(stored[f"model.layers.{layer}.self_attn.{kind}_scale"]) for kind in ("k", "v")
        )
        for layer in range(N_LAYERS)
    }
    record_property("first_layers_scales", wanted["model.layers.0.self_attn.attn"])
    assert found == {name: pytest.approx(scales) for name, scales in wanted.items()}
