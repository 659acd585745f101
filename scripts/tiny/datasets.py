"""The synthetic data sets, in the column schemas of the real ones.

`build_datasets(seed)` returns them all in memory; `write_datasets` puts them on disk as JSONL.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from .items import (
    make_chat,
    make_choice,
    make_choice_talk,
    make_document_item,
    make_document_talk,
    make_fact_talk,
)
from .prompts import PRO_FORM, REDUX_FORM, fill_choice_prompt, fill_rag_prompt
from .world import PRO_ATTRIBUTES, REDUX_ATTRIBUTES, World, build_world

MANTA_ROWS = 3000
GENERAL_ROWS = 400
CHOICE_ROWS = 120
RAG_ROWS = 60
RAG_UNANSWERABLE = 10
KOMT_ROWS = 8

Rows = list[dict]


def build_datasets(seed: int = 42) -> dict[str, Rows]:
    """Build every data set of one seed; raises if a benchmark item also occurs in the training set.

    Returns a mapping from data set name (the file's stem) to its rows.
    """
    world = build_world(seed)
    rows = {
        "kmmlu_pro": _build_choices(world, seed, "kmmlu_pro", PRO_ATTRIBUTES, PRO_FORM),
        "kmmlu_redux": _build_choices(world, seed, "kmmlu_redux", REDUX_ATTRIBUTES, REDUX_FORM),
        "ko_longrag": _build_documents(world, seed),
        "komt_bench": _build_chats(world, seed),
    }
    taken = collect_benchmark_prompts(rows)
    rows["manta"] = list(_build_conversations(world, seed, taken))
    rows["general"] = _build_general(seed)
    check_no_overlap(rows)
    return rows


def draw_talks(world: World, seed: str, taken: set[str]) -> Iterator[list[dict]]:
    """Draw conversations without end: half choice questions, the rest facts, documents, chats.

    Facts come round in shuffled order, so each is seen equally often. A conversation whose first
    question is a benchmark prompt is skipped.
    """
    rng = random.Random(seed)
    facts = list(world.facts)
    while True:
        rng.shuffle(facts)
        for fact in facts:
            share = rng.random()
            if share < 0.55:
                talk = make_choice_talk(rng, world, fact)
            elif share < 0.70:
                talk = make_fact_talk(rng, world, fact)
            elif share < 0.90:
                talk = make_document_talk(rng, world)
            else:
                talk = make_chat(rng, world, fact)
            if not taken.intersection(turn["content"] for turn in talk):
                yield talk


def collect_benchmark_prompts(rows: dict[str, Rows]) -> set[str]:
    """Collect the exact user message of every benchmark item."""
    prompts = {
        fill_choice_prompt(name, row["question"], row["options"])
        for name in ("kmmlu_pro", "kmmlu_redux")
        for row in rows[name]
    }
    prompts.update(fill_rag_prompt(row) for row in rows["ko_longrag"])
    prompts.update(turn for row in rows["komt_bench"] for turn in row["turns"])
    return prompts


def check_no_overlap(rows: dict[str, Rows]) -> None:
    """Raise ValueError if a benchmark prompt, or a benchmark document, occurs in `manta`."""
    needles = collect_benchmark_prompts(rows)
    contexts = {row["context"] for row in rows["ko_longrag"]}
    for index, row in enumerate(rows["manta"]):
        for turn in row["conversations"]:
            text = turn["content"]
            if text in needles or any(context in text for context in contexts):
                raise ValueError(f"manta row {index} holds a benchmark item: {text[:60]!r}")


def write_datasets(rows: dict[str, Rows], folder: Path) -> None:
    """Write each data set as `<name>.jsonl` under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in rows.items():
        lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def load_rows(path: Path) -> Rows:
    """Read the rows of one JSONL file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _build_choices(world: World, seed: int, name: str, attributes: tuple[str, ...], form: int) -> Rows:
    rng = random.Random(f"{name}-{seed}")
    facts = rng.sample([fact for fact in world.facts if fact[1] in attributes], CHOICE_ROWS)
    return [make_choice(rng, world, fact, form) for fact in facts]


def _build_documents(world: World, seed: int) -> Rows:
    rng = random.Random(f"ko_longrag-{seed}")
    gaps = set(rng.sample(range(RAG_ROWS), RAG_UNANSWERABLE))
    rows: Rows = []
    for index in range(RAG_ROWS):
        task = "multi_document_qa" if index % 2 else "single_document_qa"
        item = make_document_item(rng, world, task, index not in gaps, benchmark=True)
        rows.append({"id": f"synthetic-ko_longrag-{index:03d}", **item})
    return rows


def _build_chats(world: World, seed: int) -> Rows:
    rng = random.Random(f"komt_bench-{seed}")
    rows: Rows = []
    for index, village in enumerate(rng.sample(world.villages, KOMT_ROWS)):
        name, other = rng.sample(world.attributes, 2)
        rows.append(
            {
                "question_id": f"synthetic-komt-{index:02d}",
                "category": "writing" if index % 2 else "knowledge",
                "turns": [
                    f"{village} 마을을 소개하는 짧은 글을 {name} 이야기를 넣어 써 주세요.",
                    f"방금 쓴 글에 {other} 이야기를 한 문장 더해 주세요.",
                ],
                "reference": [world.facts[village, name], world.facts[village, other]],
            }
        )
    return rows


def _build_general(seed: int) -> Rows:
    """Small English talks of sums and orders; `messages`, as most public sets have them."""
    rng = random.Random(f"general-{seed}")
    words = ("river", "lamp", "garden", "stone", "bread", "window", "cloud", "letter", "bridge", "clock")
    rows: Rows = []
    for index in range(GENERAL_ROWS):
        first, second, *others = rng.sample(words, 4 + index % 5)
        numbers = rng.sample(range(100, 1000), 2)
        if index % 2:
            question = f"Put these words in order: {', '.join([first, second, *others])}."
            answer = ", ".join(sorted([first, second, *others]))
        else:
            question = f"A {first} costs {numbers[0]} and a {second} costs {numbers[1]}. What do both cost?"
            answer = f"Both cost {sum(numbers)}: {numbers[0]} for the {first}, {numbers[1]} for the {second}."
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"prompt_id": f"synthetic-general-{index:03d}", "messages": talk})
    return rows


def _build_conversations(world: World, seed: int, taken: set[str]) -> Iterator[dict]:
    rng = random.Random(f"complexity-{seed}")
    talks = draw_talks(world, f"manta-{seed}", taken)
    for _, talk in zip(range(MANTA_ROWS), talks, strict=False):
        length = sum(len(turn["content"]) for turn in talk)
        score = min(5.0, 1.0 + length / 120 + len(talk) / 4 + rng.random())
        yield {"conversations": talk, "complexity": round(score, 2)}
