"""The stage `compare_logits` on real models, against whole logits of a second computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import build_model, write_rows

from evaluator.stages import compare_logits
from lanekit.errors import InputError
from lanekit.files.conversations import encode_conversation
from lanekit.progress import ignore_progress
from lanekit.results.screen import ScreenResult
from lanekit.spec.screen import CompareLogitsParams

pytestmark = pytest.mark.slow

SPEC = CompareLogitsParams(max_tokens=220, sequence_tokens=60, max_length=256, device="cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight conversations of differing length, so that batches are padded."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        [
            {"role": "user", "content": f"{number}번 마을의 강은 어디에 있나요?" * (1 + number % 3)},
            {
                "role": "assistant",
                "content": f"{number}번 마을의 강은 {number}호 강입니다. " * (1 + number % 4),
            },
        ]
        for number in range(1, 9)
    ]
    write_rows(folder / "validation.jsonl", [{"row": i, "conversations": row} for i, row in enumerate(rows)])
    return folder


def screen(model: Path, base: Path, corpus: Path, out: Path, **changes: Any) -> ScreenResult:
    out.mkdir(exist_ok=True)
    inputs = {"model": model, "base": base, "corpus": corpus}
    compare_logits.run(SPEC.model_copy(update=changes), inputs, out, ignore_progress)
    return ScreenResult.model_validate_json((out / "metrics.json").read_bytes())


def compute_whole(model: Path, base: Path, corpus: Path) -> dict[str, float]:
    """Return the numbers from whole logits, sequence by sequence, loaded and computed in another way."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    p, q = (AutoModelForCausalLM.from_pretrained(x, dtype=torch.float32).eval() for x in (base, model))
    kl: list[float] = []
    same, nll, base_nll, left = 0, 0.0, 0.0, SPEC.max_tokens
    for line in (corpus / "validation.jsonl").read_text(encoding="utf-8").splitlines():
        (sample,) = encode_conversation(tokenizer, json.loads(line)["conversations"], SPEC.max_length).samples
        answer = [i for i, label in enumerate(sample["labels"]) if label != -100]
        answer = answer[: min(left, SPEC.sequence_tokens)]
        left -= len(answer)
        ids = torch.tensor([sample["input_ids"]])
        with torch.no_grad():
            a, b = (m(ids).logits[0].double()[[i - 1 for i in answer]] for m in (p, q))
        kl += torch.nn.functional.kl_div(
            b.log_softmax(-1), a.log_softmax(-1), reduction="none", log_target=True
        ).sum(-1).tolist()  # fmt: skip
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        nll += float(torch.nn.functional.cross_entropy(b, ids[0, answer], reduction="sum"))
        base_nll += float(torch.nn.functional.cross_entropy(a, ids[0, answer], reduction="sum"))
    values = torch.tensor(kl, dtype=torch.float64)
    return {
        "n_tokens": len(kl),
        "kl_mean": float(values.mean()),
        "kl_median": float(values.quantile(0.5)),
        "kl_p99": float(values.quantile(0.99)),
        "same_top": same / len(kl),
        "ppl": float(torch.tensor(nll / len(kl)).exp()),
        "ppl_ratio": float(torch.tensor((nll - base_nll) / len(kl)).exp()),
    }


@pytest.mark.parametrize("scheme", ["W4A16", "W8A8"])
def test_a_quantized_models_numbers_are_those_of_whole_logits(
    quantize: Callable[[str], Path], tiny_model: Path, corpus: Path, tmp_path: Path, scheme: str
) -> None:
    model = quantize(scheme)
    found = screen(model, tiny_model, corpus, tmp_path)
    expected = compute_whole(model, tiny_model, corpus)
    # transformers' own way quantizes activations as well; what is left is float32's rounding
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=2e-3)
    assert found.kl_mean > 1e-5 and found.n_tokens == SPEC.max_tokens
    lines = [json.loads(x) for x in (tmp_path / "sequences.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(line["kl"]) for line in lines] == found.sequence_tokens
    assert [sum(line["kl"]) for line in lines] == pytest.approx(found.sequence_kl, abs=1e-4)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["engines"]["model"]["quantization"].startswith("compressed-tensors")
    assert report["engines"]["base"]["quantization"] == "none" and "notes" not in report


def test_the_base_itself_is_at_no_distance_and_loaded_once(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tiny_model)
    found = screen(link, tiny_model, corpus, tmp_path / "out", max_tokens=9999)
    assert (found.kl_mean, found.kl_p99, found.same_top, found.ppl_ratio) == (0, 0, 1, 1)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["one_folder"] and "9999 tokens are asked for" in report["notes"][0]


def test_the_same_again_is_the_same_bit_for_bit(
    tiny_model: Path, other_model: Path, corpus: Path, tmp_path: Path
) -> None:
    first, again = (screen(other_model, tiny_model, corpus, tmp_path / n, max_tokens=60) for n in "ab")
    assert first == again and first.kl_mean > 0.01


def test_a_model_that_cannot_be_compared_is_refused_with_a_remedy(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"model_type": "nothing"}', encoding="utf-8")
    with pytest.raises(InputError, match="transformers cannot load this model") as error:
        screen(tmp_path / "bad", tiny_model, corpus, tmp_path / "out")
    assert error.value.remedy
    cut = build_model(tmp_path / "cut", seed=1)
    shrink_vocabulary(cut, 600)
    with pytest.raises(InputError, match="vocabulary has 640 tokens, the model's 600") as error:
        screen(cut, tiny_model, corpus, tmp_path / "out")
    assert error.value.remedy


def shrink_vocabulary(folder: Path, size: int) -> None:
    """Cut a model's embedding."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(size)
    model.save_pretrained(folder)
