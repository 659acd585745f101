"""F1 and exact match of short Korean answers. Pure.

Both sides are compared in their normal forms (see `normal_form`): as they stand and without their endings,
whichever pair agrees best. F1 is over the multiset of characters; KorQuAD 1.0's evaluation likewise counts
characters, since Korean eojeols carry their particles. Repeated characters count as often as both sides have
them.

A refusal ("답할 수 없습니다") stands for the answer "unanswerable", as an empty gold answer does: as in
SQuAD 2.0 it gets no partial credit, 1 against an unanswerable gold answer and 0 against any other. A reply
that says nothing is no refusal and scores 0: silence does not tell that the documents hold no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from evaluator.quality.normal_form import clean_text, list_forms

# Stripped before the text is cleaned: "답: 답변할 수 없습니다.", "죄송합니다. 찾을 수 없습니다. …".
_OPENING = re.compile(
    r"\s*(?:(?:정답|답변?|answer)\s*[:\uff1a]\s*)?(?:죄송합니다만?[.,!]?\s+)?", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_ANSWERED_AFTER_ALL = re.compile(r"(?<![^\W_])(?:정답|답)(?:은|\s*:)")

# Read on a cleaned text, without spaces.
_SORRY = r"(?:죄송하지만|죄송합니다만?)?"
_TOLD_SOURCE = (
    r"(?:(?:이|위|주어진|제공된|제시된|해당|관련)?"
    r"(?:문서|지문|본문|문맥|맥락|텍스트|컨텍스트|정보|내용|질문|자료)\S{0,12}?)"
)
_SOURCE = rf"{_TOLD_SOURCE}?"
_ABOUT = r"(?:\S{0,40}에(?:대한|관한))?"
_TOPIC = r"(?:\S{0,40}에(?:대한|관한)(?:정답|답변?|정보|내용)[은는이가을를])?"
_HELD = r"(?:정보|내용|정답|답변?|언급|설명)[이가은는]?"
_NOT = r"지않(?:음|다|습니다|아요)"
_NONE = r"없(?:음|다|습니다|어요|네요|는질문|는질문입니다)"
_REFUSAL = re.compile(
    rf"{_SORRY}{_TOPIC}{_SOURCE}(?:(?:정답|답변?|정보|내용)[을를이가])?(?:답|답변|대답|알|확인|찾을|찾아볼|판단|파악)할?수[가는]?{_NONE}"
    rf"|{_SORRY}{_SOURCE}{_ABOUT}(?:해당|관련)?{_HELD}{_NONE}"
    rf"|{_SORRY}{_SOURCE}(?:언급|명시|기재|서술)(?:되어|돼)?있{_NOT}"
    rf"|{_SORRY}{_SOURCE}{_ABOUT}(?:해당|관련)?{_HELD}(?:(?:(?:포함|언급|명시|기재|서술)(?:되어|돼)|나와)?있{_NOT}|존재하{_NOT})"
    rf"|{_SORRY}{_TOLD_SOURCE}(?:포함되어|나와)있{_NOT}"
    rf"|{_SORRY}{_SOURCE}답변[이은]?불가(?:능)?(?:함|합니다)?"
    r"|정답없음|답없음|모릅니다|모르겠습니다"
    r"|(?:the(?:answer|question))?(?:is)?unanswerable|noanswer|(?:the(?:answer|question))?cannotbe(?:answered|found\S{0,30})"
)


@dataclass(frozen=True)
class AnswerScore:
    """One answer's F1 and exact match, each from 0 to 1."""

    f1: float
    exact: bool


def is_refusal(text: str) -> bool:
    """Whether the text, or its first sentence, says that there is no answer.

    A first sentence counts where no answer is stated after it. An empty text says nothing.
    """
    text = unicodedata.normalize("NFKC", text)
    text = text[_OPENING.match(text).end() :].strip()  # type: ignore[union-attr]
    if _matches_refusal(text):
        return True
    end = _SENTENCE_END.search(text)
    if end is None or _ANSWERED_AFTER_ALL.search(text, end.end()):
        return False
    return _matches_refusal(text[: end.start()])


def is_unanswerable(gold: str) -> bool:
    """Whether a gold answer says that the documents hold none: it is a refusal, or empty."""
    return is_refusal(gold) or not clean_text(gold)


def score_answer(prediction: str, gold: str) -> AnswerScore:
    """Compare a prediction with the gold answer."""
    refused = is_refusal(prediction)
    if is_unanswerable(gold):
        return AnswerScore(f1=float(refused), exact=refused)
    said, wanted = list_forms(prediction), list_forms(gold)
    if refused or not said[0]:
        return AnswerScore(f1=0.0, exact=False)
    if not set(said).isdisjoint(wanted):
        return AnswerScore(f1=1.0, exact=True)
    return AnswerScore(f1=max(compute_f1(a, b) for a in said for b in wanted), exact=False)


def compute_f1(prediction: str, gold: str) -> float:
    """Return the F1 of two character multisets; 0 where one is empty and the other is not."""
    common = sum((Counter(prediction) & Counter(gold)).values())
    total = len(prediction) + len(gold)
    return 2 * common / total if total else 1.0


def _matches_refusal(text: str) -> bool:
    return _REFUSAL.fullmatch(clean_text(text).replace(" ", "")) is not None
