"""Asking an engine a benchmark's items, turn by turn, and grading what it says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from evaluator.engines.base import Engine, Generation
from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.grade import Graded, Reply, grade_reply
from evaluator.quality.prompts import Prompt, render_turns
from lanekit.progress import Progress
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.rows import ChatItem, Item


class Asker:
    """Asks benchmarks one after the other and tells the progress over all of their `total` turns."""

    def __init__(self, chat: ChatTokenizer, max_model_len: int, progress: Progress, total: int) -> None:
        self.chat = chat
        self.max_model_len = max_model_len
        self.progress = progress
        self.total = total
        self.done = 0

    def ask(
        self, engine: Engine, benchmark: Benchmark, items: Sequence[Item], prompts: Sequence[Prompt]
    ) -> tuple[list[Graded], float]:
        """Ask one benchmark; returns its rows, by item and turn, and the seconds spent generating.

        `prompts` are the items' first turns. A later turn is asked with the model's own replies in the
        conversation, without their reasoning.
        """
        rows: dict[tuple[int, int], Graded] = {}
        seconds = 0.0
        turn, asked = 1, list(range(len(items)))
        while asked:
            replies, spent = self._generate(engine, benchmark, prompts)
            seconds += spent
            for index, prompt, reply in zip(asked, prompts, replies, strict=True):
                rows[index, turn] = grade_reply(
                    benchmark,
                    items[index],
                    prompt,
                    reply,
                    index=index,
                    turn=turn,
                    thinking=self.chat.enable_thinking,
                )
            asked = [index for index in asked if count_turns(items[index]) > turn]
            turn += 1
            chats = [item for index in asked if isinstance(item := items[index], ChatItem)]
            said = [[rows[index, earlier].parsed or "" for earlier in range(1, turn)] for index in asked]
            prompts = render_turns(benchmark, chats, said, self.chat)
        return [rows[key] for key in sorted(rows)], seconds

    def _generate(
        self, engine: Engine, benchmark: Benchmark, prompts: Sequence[Prompt]
    ) -> tuple[list[Reply], float]:
        """Generate for every prompt; a long conversation gets the room that is left, or is not asked."""
        new_tokens = benchmark.count_new_tokens(thinking=self.chat.enable_thinking)
        by_limit: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            limit = max(0, min(new_tokens, self.max_model_len - len(prompt.token_ids)))
            by_limit.setdefault(limit, []).append(index)
        unasked = by_limit.pop(0, [])
        # A stop text within the reasoning would end it.
        stop = () if self.chat.enable_thinking else benchmark.stop
        outputs: dict[int, Generation] = {}
        self._tell(0, benchmark)
        started = time.perf_counter()
        for limit, indexes in sorted(by_limit.items(), reverse=True):
            token_ids = [prompts[index].token_ids for index in indexes]
            generated = engine.generate(
                token_ids, limit, stop=stop, on_progress=partial(self._tell, benchmark=benchmark)
            )
            outputs.update(zip(indexes, generated, strict=True))
            self.done += len(indexes)
        seconds = time.perf_counter() - started
        self.done += len(unasked)
        self._tell(0, benchmark)
        texts = self.chat.decode_replies([output.token_ids for output in outputs.values()])
        replies = {
            index: Reply(text, output.n_generated, output.finished)
            for (index, output), text in zip(outputs.items(), texts, strict=True)
        }
        for index in unasked:
            length = len(prompts[index].token_ids)
            note = f"not asked: the conversation has {length} tokens, max_model_len is {self.max_model_len}"
            replies[index] = Reply("", 0, finished=False, note=note)
        return [replies[index] for index in range(len(prompts))], seconds

    def _tell(self, step: int, benchmark: Benchmark) -> None:
        self.progress(self.done + step, self.total, benchmark.name)


def count_turns(item: Item) -> int:
    """Return how many user turns an item has."""
    return len(item.turns) if isinstance(item, ChatItem) else 1


def summarize_time(graded: Sequence[Graded], seconds: float) -> dict[str, Any]:
    """Return how fast a benchmark ran; `s_per_token` is free-running: wall seconds per token generated."""
    n_items = len({row.index for row in graded})
    new_tokens = sum(row.new_tokens for row in graded)
    return {
        "seconds": seconds,
        "items": n_items,
        "replies": len(graded),
        "items_per_s": n_items / seconds if seconds else None,
        "prompt_tokens": sum(row.prompt_tokens for row in graded),
        "new_tokens": new_tokens,
        "s_per_token": seconds / new_tokens if new_tokens else None,
        "unfinished": sum(not row.finished for row in graded),
        "not_asked": sum(row.note != "" for row in graded),
    }
