"""The three stages for real, on a tiny model with the transformers engine."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import choice_row, write_rows

from evaluator.engines import load_engine
from evaluator.quality.outputs import read_items
from evaluator.stages import evaluate, verify_package
from lanekit.errors import InputError
from lanekit.execute.pool import ChildProcess
from lanekit.progress import ignore_progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.results.schema import BenchmarkResult
from lanekit.spec.benchmark import Benchmark, Shot
from lanekit.spec.evaluation import EngineParams, EvaluateParams, VerifyPackageParams

pytestmark = pytest.mark.slow

MAX_PROMPT_TOKENS = 300


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def spec(benchmarks: dict[str, Benchmark], engine_params: EngineParams) -> EvaluateParams:
    short = {
        name: benchmark.model_copy(
            update={
                "max_prompt_tokens": MAX_PROMPT_TOKENS if name == "ko_longrag" else None,
                "max_new_tokens": min(48, benchmark.max_new_tokens),
            }
        )
        for name, benchmark in benchmarks.items()
    }
    return EvaluateParams(engine=engine_params, benchmarks=tuple(short.values()))


def evaluate_model(spec: EvaluateParams, model: Path, suite: Path, out: Path) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    evaluate.run(spec, {"model": model, "suite": suite}, out, ignore_progress)
    return {
        "metrics": read_json(out / "metrics.json"),
        "report": read_json(out / "report.json"),
        "items": read_items(out / ITEMS_NAME),
    }


def test_evaluate(spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    evaluate.run(
        spec, {"model": tiny_model, "suite": suite}, tmp_path, lambda s, t, _m="": steps.append((s, t))
    )
    assert steps[-1] == (24, 24)  # 22 items, and two turns
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "items.parquet", "metrics.json", "report.json",
    ]  # fmt: skip
    metrics = read_json(tmp_path / "metrics.json")
    results = {name: BenchmarkResult.model_validate(value) for name, value in metrics["benchmarks"].items()}
    assert {name: result.n_items for name, result in results.items()} == {
        "kmmlu_pro": 9, "kmmlu_redux": 9, "ko_longrag": 4, "komt_bench": 1,
    }  # fmt: skip
    assert results["komt_bench"].value is None
    assert results["komt_bench"].note == "no judge is configured"
    documents = results["ko_longrag"]
    assert (documents.n_cut, documents.n_gold_lost) == (1, 1)
    assert {name: part.n_items for name, part in documents.parts.items()} == {
        "answerable": 3, "unanswerable": 1, "single_document_qa": 4,
    }  # fmt: skip
    assert metrics["size_bytes"] == (tiny_model / "model.safetensors").stat().st_size
    items = read_items(tmp_path / ITEMS_NAME)
    assert [(item["benchmark"], item["index"], item["turn"]) for item in items] == [
        *(("kmmlu_pro", index, 1) for index in range(9)),
        *(("kmmlu_redux", index, 1) for index in range(9)),
        *(("ko_longrag", index, 1) for index in range(4)),
        ("komt_bench", 0, 1),
        ("komt_bench", 0, 2),
    ]
    assert max(item["prompt_tokens"] for item in items[:22]) <= MAX_PROMPT_TOKENS
    assert [item["answer_lost"] for item in items[18:22]] == [None, True, None, None]
    assert len({item["response"] for item in items}) > 5
    values = [item["value"] for item in items[18:22]]
    assert documents.value == pytest.approx(sum(values) / 4)
    report = read_json(tmp_path / "report.json")
    assert report["benchmarks"]["kmmlu_pro"]["s_per_token"] > 0
    assert report["benchmarks"]["komt_bench"]["replies"] == 2
    seconds = [report[f"{name}_seconds"] for name in ("load", "generate", "close", "other")]
    assert sum(seconds) == pytest.approx(report["total_seconds"])
    assert all(value > 0 for value in seconds)
    assert report["device"].startswith("cpu: ")


def test_the_first_items_of_each_set(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    result = evaluate_model(spec.model_copy(update={"limit_items": 2}), tiny_model, suite, tmp_path / "few")
    numbers = {name: found["n_items"] for name, found in result["metrics"]["benchmarks"].items()}
    assert numbers == {"kmmlu_pro": 2, "kmmlu_redux": 2, "ko_longrag": 2, "komt_bench": 1}
    assert [item["id"] for item in result["items"][:2]] == ["q1", "q2"]


def test_few_shots_stop_and_thinking(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    """A variant of a benchmark; a random model never closes its reasoning, so nothing it says counts."""
    pro = next(b for b in spec.benchmarks if b.name == "kmmlu_pro")
    shot = Shot(fields=choice_row(1), reply="정답: B")
    variant = pro.model_copy(update={"few_shots": (shot, shot), "thinking_max_new_tokens": 12})
    plain = evaluate_model(spec.model_copy(update={"benchmarks": (pro,)}), tiny_model, suite, tmp_path / "a")
    shots = spec.model_copy(update={"benchmarks": (variant,)})
    helped = evaluate_model(shots, tiny_model, suite, tmp_path / "b")
    thinking = evaluate_model(
        shots.model_copy(update={"enable_thinking": True}), tiny_model, suite, tmp_path / "c"
    )
    pairs = list(zip(plain["items"], helped["items"], strict=True))
    assert all(with_shots["prompt_tokens"] > 2 * bare["prompt_tokens"] for bare, with_shots in pairs)
    assert any(with_shots["response"] != bare["response"] for bare, with_shots in pairs)
    assert all(item["new_tokens"] <= 12 for item in thinking["items"])
    assert all("</think>" not in item["response"] for item in thinking["items"])
    assert thinking["metrics"]["benchmarks"]["kmmlu_pro"]["n_unparsed"] == 9
    assert thinking["report"]["thinking"] is True


def test_thinking_without_room_tells_the_remedy(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="up to 4096 tokens leave no room") as caught:
        evaluate_model(spec.model_copy(update={"enable_thinking": True}), tiny_model, suite, tmp_path / "out")
    assert "raise evaluation.max_model_len in the experiment file above 4096" in caught.value.remedy


def test_evaluate_is_reproducible(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    first = evaluate_model(spec, tiny_model, suite, tmp_path / "a")
    again = evaluate_model(spec, tiny_model, suite, tmp_path / "b")
    assert first["items"] == again["items"]
    assert first["metrics"] == again["metrics"]


def test_batching_does_not_change_replies(
    engine_params: EngineParams, spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    single = spec.model_copy(update={"engine": engine_params.model_copy(update={"batch_size": 1})})
    alone = evaluate_model(single, tiny_model, suite, tmp_path / "a")
    together = evaluate_model(spec, tiny_model, suite, tmp_path / "b")
    assert [i["response"] for i in alone["items"]] == [i["response"] for i in together["items"]]


def test_generation_ends_at_eos(engine_params: EngineParams, tiny_model: Path) -> None:
    """A reply stops before the first stop token, and the batch stops when all replies did."""
    engine = load_engine(tiny_model, engine_params)
    prompts = [[20, 21, 22], [30, 31, 32, 33]]
    free = engine.generate(prompts, 12, ignore_eos=True)
    assert [len(output.token_ids) for output in free] == [12, 12]
    stop = free[0].token_ids[3]
    engine.eos_ids = [stop, *{output.token_ids[5] for output in free}]  # type: ignore[attr-defined]
    stopped = engine.generate(prompts, 12)
    for output, whole in zip(stopped, free, strict=True):
        position = min(i for i, token in enumerate(whole.token_ids) if token in engine.eos_ids)  # type: ignore[attr-defined]
        assert output.finished
        assert output.token_ids == whole.token_ids[:position]
    engine.close()


@pytest.mark.parametrize("scheme", ["W4A16", "W8A16", "FP8_DYNAMIC", "FP8"])
def test_quantized_models_run_as_their_library_runs_them(
    engine_params: EngineParams, tiny_model: Path, quantize: Callable[[str], Path], scheme: str
) -> None:
    """Logits equal, bit for bit, those of the checkpoint loaded by transformers without our settings."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = quantize(scheme)
    engine: Any = load_engine(folder, engine_params)
    ids = torch.tensor([list(range(20, 60)), list(range(60, 100))])
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    dense = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.inference_mode():
        wanted, found, before = plain(ids).logits, engine.model(ids).logits, dense(ids).logits
    assert torch.equal(found, wanted)
    assert not torch.equal(found, before)
    assert "compressed-tensors" in engine.describe()["quantization"]
    assert engine.n_settled == 14
    engine.close()


def test_evaluate_quantized(
    spec: EvaluateParams, quantize: Callable[[str], Path], tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    result = evaluate_model(spec, quantize("W4A16"), suite, tmp_path)
    assert len(result["items"]) == 24
    assert result["metrics"]["size_bytes"] < (tiny_model / "model.safetensors").stat().st_size
    assert result["report"]["engine"]["weights"] == "decompressed at load by compressed-tensors, 14 linears"


def test_evaluate_names_the_bad_row(spec: EvaluateParams, tiny_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "kmmlu_pro.jsonl", [choice_row(), choice_row(solution="9")])
    one = spec.model_copy(update={"benchmarks": (next(b for b in spec.benchmarks if b.name == "kmmlu_pro"),)})
    with pytest.raises(InputError, match=r"kmmlu_pro\.jsonl:2: column 'solution'"):
        evaluate.run(one, {"model": tiny_model, "suite": tmp_path}, tmp_path, ignore_progress)


def copy_model(source: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_evaluate_names_a_truncated_model(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    model = copy_model(tiny_model, tmp_path / "model")
    truncate(model / "model.safetensors")
    with pytest.raises(InputError, match="transformers cannot load this model: SafetensorError"):
        evaluate.run(spec, {"model": model, "suite": suite}, tmp_path, ignore_progress)


@pytest.mark.parametrize(
    ("scheme", "tensor", "message"),
    [
        (None, "mlp.up_proj.weight", "the checkpoint lacks 1 tensors: model.layers.1.mlp.up_proj.weight"),
        ("FP8", "mlp.up_proj.input_scale", "the checkpoint lacks 1 tensors"),
        ("W4A16", "mlp.up_proj.weight_packed", "cannot load this model"),
    ],
)
def test_a_missing_tensor_is_not_made_up(
    engine_params: EngineParams,
    tiny_model: Path,
    quantize: Callable[[str], Path],
    tmp_path: Path,
    scheme: str | None,
    tensor: str,
    message: str,
) -> None:
    from safetensors.torch import load_file, save_file

    model = copy_model(quantize(scheme) if scheme else tiny_model, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    del tensors[f"model.layers.1.{tensor}"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=message):
        load_engine(model, engine_params)


def test_a_weight_stored_twice_is_refused(
    engine_params: EngineParams, quantize: Callable[[str], Path], tmp_path: Path
) -> None:
    """Packed and dense side by side, as a compressed model is saved after a forward pass."""
    import torch
    from safetensors.torch import load_file, save_file

    model = copy_model(quantize("W4A16"), tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(256, 128)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="has left over 1 tensors"):
        load_engine(model, engine_params)


def pack(model: Path, folder: Path, prefix: str = "EXAONE-tiny/") -> Path:
    """Lay out a package artifact as the packaging stage does."""
    folder.mkdir(parents=True, exist_ok=True)
    copy_model(model, folder / "package")
    with zipfile.ZipFile(folder / "submit.zip", "w") as archive:
        for path in sorted(model.iterdir()):
            archive.write(path, prefix + path.name)
    return folder


@pytest.fixture(scope="module")
def verify(engine_params: EngineParams) -> VerifyPackageParams:
    return VerifyPackageParams(engine=engine_params)


@pytest.mark.parametrize("prefix", ["", "EXAONE-tiny/"])
def test_package_is_verified(
    verify: VerifyPackageParams, tiny_model: Path, tmp_path: Path, prefix: str
) -> None:
    package = pack(tiny_model, tmp_path / "in", prefix)
    out = tmp_path / "out"
    out.mkdir()
    verify_package.run(verify, {"package": package}, out, ignore_progress)
    assert [path.name for path in out.iterdir()] == ["verification.json"]
    found = read_json(out / "verification.json")
    assert found["loaded_with"] == "transformers"
    assert found["prompt"] == "안녕하세요?"
    assert 1 <= found["n_tokens"] <= 8
    assert found["licence"] == "LICENSE"
    assert f"{prefix}config.json" in found["files"]


def test_quantized_package_is_verified(
    verify: VerifyPackageParams, quantize: Callable[[str], Path], tmp_path: Path
) -> None:
    verify_package.run(
        verify, {"package": pack(quantize("W4A16"), tmp_path / "in")}, tmp_path, ignore_progress
    )
    assert "compressed-tensors" in read_json(tmp_path / "verification.json")["engine"]["quantization"]


def drop_licence(model: Path) -> None:
    (model / "LICENSE").unlink()


def drop_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def drop_config(model: Path) -> None:
    (model / "config.json").unlink()


def truncate_weights(model: Path) -> None:
    truncate(model / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_licence, "no LICENSE file"),
        (drop_tokenizer, "tokenizer cannot be read"),
        (drop_config, "0 folders with a config.json"),
        (truncate_weights, "SafetensorError"),
    ],
)
def test_damaged_package_is_refused(
    verify: VerifyPackageParams,
    tiny_model: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    model = copy_model(tiny_model, tmp_path / "model")
    damage(model)
    with pytest.raises(InputError, match=message):
        verify_package.run(verify, {"package": pack(model, tmp_path / "in")}, tmp_path, ignore_progress)
    assert not (tmp_path / "verification.json").exists()
    assert not list(tmp_path.glob(".unzipped-*"))


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"]
)
def test_zip_cannot_leave_its_folder(verify: VerifyPackageParams, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "submit.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(InputError, match="would leave the folder"):
        verify_package.run(verify, {"package": tmp_path}, tmp_path, ignore_progress)
    assert not list(tmp_path.parent.rglob("evil.txt"))


def test_zip_with_a_link_is_refused(verify: VerifyPackageParams, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "submit.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        verify_package.run(verify, {"package": tmp_path}, tmp_path, ignore_progress)


def test_no_zip_and_no_real_zip(verify: VerifyPackageParams, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exactly one zip is wanted, found: none"):
        verify_package.run(verify, {"package": tmp_path}, tmp_path, ignore_progress)
    (tmp_path / "submit.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a readable zip"):
        verify_package.run(verify, {"package": tmp_path}, tmp_path, ignore_progress)


def test_stage_runs_in_a_child_process(
    spec: EvaluateParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    job = {
        "stage": "evaluate",
        "params": spec.model_dump(mode="json"),
        "inputs": {"model": str(tiny_model), "suite": str(suite)},
        "out": str(tmp_path),
        "log": str(tmp_path / "stage.log"),
    }
    child = ChildProcess("evaluator", os.environ)
    try:
        measured = child.run(job, ignore_progress)
    finally:
        child.stop()
    assert measured.versions["transformers"]
    assert (tmp_path / "metrics.json").is_file()
