"""Makers of single items: a choice question, a document question, a conversation."""

from __future__ import annotations

import random

from .prompts import (
    PRO_FORM,
    QUESTION_FORMS,
    RAG_FORM,
    RAG_PROMPTS,
    REDUX_FORM,
    UNANSWERABLE,
    answer_choice,
    ask_attribute,
    choose_particle,
    fill_choice_prompt,
    fill_rag_prompt,
    state_fact,
)
from .world import PRO_ATTRIBUTES, World

SYSTEM_TEXTS = ("짧고 정확하게 답하세요.", "당신은 마을 안내원입니다.")


def make_choice(rng: random.Random, world: World, fact: tuple[str, str], form: int) -> dict:
    """Make a choice question for one fact: 4 or 5 options of the attribute's pool."""
    village, attribute = fact
    truth = world.facts[fact]
    others = [value for value in world.pools[attribute] if value != truth]
    options = [truth, *rng.sample(others, 4 if rng.random() < 0.3 else 3)]
    rng.shuffle(options)
    return {
        "question": ask_attribute(form, village, attribute),
        "options": options,
        "solution": str(options.index(truth) + 1),
    }


def make_document_item(
    rng: random.Random, world: World, task: str, answerable: bool, benchmark: bool = False
) -> dict:
    """Make a document question about visitor villages: the answer must be read, not remembered.

    A single-document item has one village with five stated attributes, a multi-document item has
    three villages with four each. An unanswerable item asks for an attribute left unstated. In
    benchmark items the villages of a multi-document item share fewer attributes (three each, at
    most two villages have one in common, one attribute is nowhere stated): the model can do it.
    """
    single = task == "single_document_qa"
    villages = rng.sample(world.visitors, 1 if single else 3)
    shuffled = rng.sample(world.attributes, len(world.attributes))
    documents: list[str] = []
    notes: dict[tuple[str, str], str] = {}
    for index, village in enumerate(villages):
        attributes = rng.sample(world.attributes, 5 if single else 4)
        if benchmark and not single:
            attributes = shuffled[2 * index : 2 * index + 3]
        for attribute in attributes:
            notes[village, attribute] = rng.choice(world.pools[attribute])
        documents.append("\n".join(state_fact(village, name, notes[village, name]) for name in attributes))
    village = rng.choice(villages)
    stated = [name for name in world.attributes if (village, name) in notes]
    unstated = [name for name in world.attributes if (village, name) not in notes]
    if benchmark and not single:
        unstated = shuffled[-1:]
    attribute = rng.choice(stated if answerable else unstated)
    return {
        "titles": ", ".join(villages),
        "context": "\n\n".join(documents),
        "question": ask_attribute(RAG_FORM, village, attribute),
        "answer": notes[village, attribute] if answerable else UNANSWERABLE,
        "prompt": RAG_PROMPTS[task],
        "task": task,
    }


def _talk(*texts: str, system: str | None = None) -> list[dict]:
    """Arrange texts as alternating user and assistant turns."""
    turns = [{"role": "system", "content": system}] if system else []
    for index, text in enumerate(texts):
        turns.append({"role": "assistant" if index % 2 else "user", "content": text})
    return turns


def make_choice_talk(rng: random.Random, world: World, fact: tuple[str, str]) -> list[dict]:
    """Make a one-turn conversation in exactly the form of the multiple-choice benchmarks."""
    form = rng.choice((PRO_FORM, REDUX_FORM, rng.randrange(len(QUESTION_FORMS))))
    item = make_choice(rng, world, fact, form)
    benchmark = "kmmlu_pro" if fact[1] in PRO_ATTRIBUTES else "kmmlu_redux"
    prompt = fill_choice_prompt(benchmark, item["question"], item["options"])
    return _talk(prompt, answer_choice(item["solution"]))


def make_fact_talk(rng: random.Random, world: World, fact: tuple[str, str]) -> list[dict]:
    """Make a one-turn fact question: a bare value, or a sentence where one is asked for."""
    system = rng.choice(SYSTEM_TEXTS) if rng.random() < 0.3 else None
    question = ask_attribute(RAG_FORM, *fact)
    if rng.random() < 0.5:
        return _talk(question, world.facts[fact], system=system)
    return _talk(f"{question} 한 문장으로.", state_fact(*fact, world.facts[fact]), system=system)


def make_document_talk(rng: random.Random, world: World) -> list[dict]:
    """Make a one-turn document question in the form of the document benchmark."""
    task = rng.choice(list(RAG_PROMPTS))
    item = make_document_item(rng, world, task, answerable=rng.random() > 1 / 6)
    return _talk(fill_rag_prompt(item), item["answer"])


def make_chat(rng: random.Random, world: World, fact: tuple[str, str]) -> list[dict]:
    """Make a small talk of two or three turns about one village."""
    village, first = fact
    names = [first, *rng.sample([n for n in world.attributes if n != first], rng.choice((1, 2)))]
    texts = [ask_attribute(RAG_FORM, village, first), world.facts[fact]]
    for name in names[1:]:
        texts += [f"그럼 {name}{choose_particle(name, '은', '는')}?", world.facts[village, name]]
    system = rng.choice(SYSTEM_TEXTS) if rng.random() < 0.3 else None
    return _talk(*texts, system=system)
