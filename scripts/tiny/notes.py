"""The texts that travel with the synthetic data and with the tiny model."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

LICENCE = """\
MIT License

Copyright (c) 2026 the authors of this repository

Permission is hereby granted, free of charge, to any person obtaining a copy of this test fixture
(configuration, tokenizer, weights and notes), to deal in it without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of it, and to permit persons to whom it is furnished to do so, subject to the following
conditions: the above copyright notice and this permission notice shall be included in all copies
or substantial portions of it.

THE FIXTURE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH IT OR ITS USE.

What this is: a synthetic test fixture. It holds no EXAONE weights, no part of the EXAONE tokenizer
and no text from any EXAONE data set; only the architecture's class in the transformers library is
shared. It was trained from random weights on an invented world (scripts/tiny/world.py).
"""

MODEL_NOTES = """\
# Tiny EXAONE-4 test model

A stand-in for `EXAONE-4.0-1.2B` in the demo and the tests: the same architecture
(`Exaone4ForCausalLM`, 30 blocks, norms on the outputs, tied head, llama3 rope scaling, ids 0/1/361
for padding, beginning and end of turn) at hidden 128, feed-forward 128, 4 heads of 32, 2 key-value
heads. It holds **no EXAONE weights** and knows nothing about the real world: it has memorized the
invented villages of seed 42 (`scripts/make_tiny_data.py`), answers choice questions about them as
`정답: B`, and reads short documents about villages it has never seen.

- Weights are stored in bfloat16; the scores in `TRAINING.md` are greedy decoding in float32.
- The chat template writes the same text as the real one for plain conversations: earlier assistant
  turns carry the empty thoughts too, so training text and evaluation prompt agree. It has no tools.
- It was taught to need every block (`scripts/tiny/sharpen.py`): with two or four blocks left out it
  answers only 25 to 80 % of the choice questions, and a short distillation heals it. How much
  damage a pruned *real* model takes cannot be read off it. Rounding to 4 bits hardly hurts it.
- Speeds measured on it say nothing about the real model.

How it was made: `TRAINING.md`, `training_log.jsonl`. Licence: `LICENSE`.
"""


def describe_data(rows: dict[str, list[dict]], seed: int) -> str:
    """Write the README of a data folder: that it is synthetic, the schema, how it was made."""
    lines = [
        "# Synthetic data sets",
        "",
        f"Made by `scripts/make_tiny_data.py --seed {seed}`. Everything is invented: villages,",
        "attributes, values. **No row comes from MANTA-1M, KMMLU-Pro, KMMLU-Redux, Ko-LongRAG or",
        "KoMT-Bench**; the files only have the columns of those data sets, so that the pipeline's",
        "readers run unchanged (`general` has those of public chat sets). Scores on them say nothing",
        "about a model's Korean or knowledge.",
        "",
        "| file | rows | columns | content |",
        "|---|---|---|---|",
    ]
    content = {
        "manta": "training conversations: choice questions, facts, documents, short chats",
        "general": "short English talks, to calibrate on beside them",
        "kmmlu_pro": "choice questions on four attributes, 4 or 5 options; `solution` is 1-based",
        "kmmlu_redux": "the same on the other four attributes, worded differently",
        "ko_longrag": "document questions on villages outside the world; some unanswerable",
        "komt_bench": "two-turn requests with a reference",
    }
    for name, text in content.items():
        columns = ", ".join(f"`{column}`" for column in rows[name][0])
        lines.append(f"| `{name}.jsonl` | {len(rows[name])} | {columns} | {text} |")
    lines += [
        "",
        "`titles` is one text, the document titles with commas between; `prompt` is a template",
        "with the places `{titles}`, `{context}`, `{question}`; the answer to an unanswerable",
        "question is `답할 수 없음`. Facts of the two choice benchmarks also occur in `manta`,",
        "with other options or another order; documents do not. The script fails if a benchmark",
        "prompt or document is found in `manta`.",
    ]
    return "\n".join(lines) + "\n"


def describe_training(log: list[dict]) -> str:
    """Write TRAINING.md from the log: commands, hardware, settings, accuracy curve."""
    commands = [entry for entry in log if entry.get("event") == "command"]
    plans = [entry for entry in log if str(entry.get("event", "")).endswith("plan")]
    packages = ", ".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers"))
    lines = ["# How this model was trained", "", "```"]
    lines += [entry["line"] for entry in commands]
    lines += ["```", "", f"- packages: {packages}, Python {platform.python_version()}"]
    for entry in commands:
        lines.append(f"- hardware: {entry['hardware'] or 'not stated'}, torch {entry['torch']}")
    for entry in log:
        if entry.get("event") == "note":
            lines.append(f"- {entry['text']}")
    lines += [f"- settings: `{json.dumps(plan)}`" for plan in plans]
    lines += ["", "Share of benchmark items answered exactly, and losses (answer tokens):", ""]
    lines += ["| | seconds | loss, short rows | loss, long rows | pro | redux | longrag |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for entry in log:
        if "kmmlu_pro" not in entry:
            continue
        name = f"step {entry['step']}" if "step" in entry else entry["event"]
        cells = [name, *(entry.get(key, "") for key in ("seconds", "loss_short", "loss_long"))]
        cells += [f"{entry[key]:.3f}" for key in ("kmmlu_pro", "kmmlu_redux", "ko_longrag")]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    sharp = [entry for entry in log if "sharpen_step" in entry]
    if sharp:
        lines += [
            "",
            "Second stage (`sharpen.py`): loss of the whole model and of the broken one:",
            "",
        ]
        lines += ["| step | seconds | whole | with blocks left out |", "|---|---|---|---|"]
        for entry in sharp:
            lines.append("| " + " | ".join(str(value) for value in entry.values()) + " |")
    return "\n".join(lines) + "\n"
