"""Rows and random models for the evaluator's tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

PAD, BOS, END = "[PAD]", "[BOS]", "[|endofturn|]"
SPECIAL = [PAD, BOS, END, "[|system|]", "[|user|]", "[|assistant|]", "<think>", "</think>"]
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '[|' ~ message.role ~ '|]\n' ~ message.content ~ '[|endofturn|]\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '[|assistant|]\n' -}}"
    "{{- '<think>\n' if enable_thinking else '<think>\n\n</think>\n\n' -}}{%- endif -%}"
)
UNANSWERABLE = "답할 수 없음"


def choice_row(number: int = 1, n_options: int = 4, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"q{number}",
        "question": f"{number}번 마을의 특산물은 무엇인가?",
        "options": ["사과", "배", "포도", "감", "귤"][:n_options],
        "solution": str(number % n_options + 1),
    }
    return {**row, **changes}


def document_row(number: int = 1, sentences: int = 3, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"d{number}",
        "titles": "첫째 문서, 둘째 문서",
        "context": " ".join(f"{i}번 마을의 강은 {i}호 강이다." for i in range(sentences)),
        "question": "1번 마을의 강은?",
        "answer": UNANSWERABLE if number % 3 == 0 else f"{sentences - 1}호 강",
        "prompt": "문서를 읽고 답하세요.\n\n제목: {titles}\n\n{context}\n\n질문: {question}",
        "task": "single_document_qa",
    }
    return {**row, **changes}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def build_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=[AddedToken(text) for text in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [row[c] for row in map(document_row, range(8)) for c in ("context", "prompt", "question")]
    bpe.train_from_iterator([*texts, "정답: A 정답: B 다음 문제의 정답을 고르세요."], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, bos_token=BOS, eos_token=END, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(folder: Path, seed: int, layers: int = 2) -> Path:
    """Write a random model whose greedy replies differ from prompt to prompt."""
    import torch
    from transformers import Exaone4Config, Exaone4ForCausalLM

    tokenizer = build_tokenizer()
    config = Exaone4Config(
        vocab_size=640,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        sliding_window=None,
        layer_types=["full_attention"] * layers,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Exaone4ForCausalLM(config)
    with torch.no_grad():  # widen the init, so that layers matter beside the tied embedding
        for name, parameter in model.named_parameters():
            if name.endswith("proj.weight"):
                parameter.mul_(4)
    model.generation_config.update(do_sample=True, temperature=0.6, top_p=0.95)  # as the real one has
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "LICENSE").write_text("EXAONE test licence\n", encoding="utf-8")
    return folder


def quantize_model(model_folder: Path, scheme: str, out: Path) -> Path:
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    modifier = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    data = None
    if scheme == "FP8":
        ids = tokenizer(document_row(1, 8)["context"])["input_ids"]
        data = Dataset.from_dict({"input_ids": [ids] * 4, "attention_mask": [[1] * len(ids)] * 4})
    arguments = {"dataset": data, "num_calibration_samples": 4, "max_seq_length": 128} if data else {}
    oneshot(model=model, processor=tokenizer, recipe=modifier, **arguments)
    model.save_pretrained(out, save_compressed=True)
    tokenizer.save_pretrained(out)
    shutil.copy(model_folder / "LICENSE", out / "LICENSE")
    return out
