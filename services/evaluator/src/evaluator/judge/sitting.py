"""One run of a judge over the answers to a benchmark: several requests at a time, a cap, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluator.judge.cache import Judgement, JudgementCache
from evaluator.judge.client import JudgeClient, make_body
from evaluator.judge.cost import Budget
from evaluator.judge.judging import Question, read_rating
from lanekit.errors import InputError, LanekitError
from lanekit.progress import Progress
from lanekit.spec.benchmark import Rubric
from lanekit.spec.judge import JudgeParams

MAX_UNPARSED_SHARE = 0.05


@dataclass
class JudgeSession:
    """One run of a judge over the questions."""

    spec: JudgeParams
    rubric: Rubric
    questions: Sequence[Question]
    cache: JudgementCache
    progress: Progress
    host: str = ""
    budget: Budget = field(init=False)
    n_cached: int = 0
    n_sent: int = 0
    n_retries: int = 0
    n_unparsed: int = 0
    n_without_usage: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _replies: dict[int, Judgement] = field(default_factory=dict)
    _failure: LanekitError | None = None

    async def judge_all(self, key: str) -> list[Judgement]:
        """Return a judgement for each question, in order.

        At the first failure nothing more is sent; what is under way is waited for, and kept.

        Raises:
            LanekitError: see `run`.
        """
        self.budget = Budget(self.spec)
        bodies = [make_body(self.spec, question.messages) for question in self.questions]
        for number, body in enumerate(bodies):
            found = self.cache.load(self.spec.url, body)
            if found is not None and self._is_rated(found):
                self._replies[number] = found
        self.n_cached = len(self._replies)
        missing = [number for number in range(len(bodies)) if number not in self._replies]
        self._refuse_hopeless_cost([bodies[number] for number in missing])
        client = JudgeClient(self.spec, key)
        self.host = client.host
        self._tell()
        try:
            queue = iter(missing)
            lines = min(self.spec.concurrency, len(missing))
            await asyncio.gather(*(self._work(client, queue, bodies) for _ in range(lines)))
        finally:
            self.n_retries = client.n_retries
            await client.close()
        if self._failure is not None:
            raise self._failure from None
        return [self._replies[number] for number in range(len(bodies))]

    async def _work(
        self, client: JudgeClient, queue: Iterator[int], bodies: Sequence[dict[str, Any]]
    ) -> None:
        for number in queue:
            body = bodies[number]
            if not await self.budget.reserve(number, self.budget.bound(body).most):
                self._fail(self._explain_cap())
                return
            cost = 0.0
            try:
                if self._failure is not None:
                    return
                self.n_sent += 1
                judgement = await client.ask(body, self.questions[number].label)
                cost = self._count(body, judgement)
                self._take(number, body, judgement)
            except LanekitError as error:
                self._fail(error)
                return
            finally:
                await self.budget.settle(number, cost)

    def _count(self, body: dict[str, Any], judgement: Judgement) -> float:
        """Count a judgement's tokens and return its cost; one that tells none is counted at its most."""
        prompt, completion = judgement.prompt_tokens, judgement.completion_tokens
        if prompt is None or completion is None:
            self.n_without_usage += 1
            prompt, completion = self.budget.bound_usage(body, judgement.text)
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        return self.budget.price(prompt, completion)

    def _take(self, number: int, body: dict[str, Any], judgement: Judgement) -> None:
        self._replies[number] = judgement
        if not self._is_rated(judgement):  # not kept: the next run asks anew
            self.n_unparsed += 1
            if self.n_unparsed > MAX_UNPARSED_SHARE * len(self.questions):
                self._fail(self._explain_unsuitable(self.questions[number], judgement))
        else:
            self.cache.save(self.spec.url, body, judgement)
        self._tell()

    def _is_rated(self, judgement: Judgement) -> bool:
        return read_rating(self.rubric, judgement.text, judgement.finish_reason) is not None

    def _tell(self) -> None:
        self.progress(len(self._replies), len(self.questions), "judging")

    def _fail(self, failure: LanekitError) -> None:
        self._failure = self._failure or failure

    def _refuse_hopeless_cost(self, bodies: Sequence[dict[str, Any]]) -> None:
        cap = self.spec.max_cost
        least = sum(self.budget.bound(body).least for body in bodies)
        if cap is not None and least > cap:
            cost = f"judging {len(bodies)} answers costs at least {least:.4g}"
            raise InputError(
                f"{cost}, more than evaluation.judge.max_cost {cap:g}",
                remedy="raise max_cost, set limit_items, or choose a cheaper judge; nothing was sent",
            )

    def _explain_cap(self) -> InputError:
        done = f"{len(self._replies)} of {len(self.questions)} answers are judged"
        return InputError(
            f"the next judgement could exceed evaluation.judge.max_cost {self.spec.max_cost:g}: "
            f"{self.budget.spent:.4g} is spent, {done}",
            remedy="raise max_cost and run again: what is judged is kept and costs nothing",
        )

    def _explain_unsuitable(self, question: Question, judgement: Judgement) -> InputError:
        words = " ".join(judgement.text.split())
        shown = words if len(words) <= 200 else f"{words[:100]} […] {words[-100:]}"
        found = f"{self.n_unparsed} of {len(self.questions)} replies of the judge {self.spec.model}"
        cut = judgement.finish_reason == "length"
        return InputError(
            f"{found} hold no rating, more than {MAX_UNPARSED_SHARE:.0%}; {question.label}: {shown!r}",
            remedy="raise evaluation.judge.max_tokens: the reply is cut off" if cut else "take another judge",
        )

    def report(self) -> dict[str, Any]:
        """Return what this sitting sent and spent; judgements from the cache cost nothing."""
        return {
            "cached": self.n_cached,
            "requests": self.n_sent,
            "retries": self.n_retries,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "replies_without_usage": self.n_without_usage,
            },
            "cost": self.budget.spent,
            "max_cost": self.spec.max_cost,
        }
