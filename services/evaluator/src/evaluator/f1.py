"""F1 and exact match of short Korean answers. Pure.

Normalization, the same for prediction and gold:
1. Unicode NFKC, lower case;
2. punctuation goes away (a full stop or comma between digits: the stop stays, the comma goes);
3. each eojeol (word between spaces) loses trailing particles and copulas, longest first, again and again
   while at least two characters stay;
4. spaces go away, so that spacing variants are equal.

F1 is over the multiset of characters that remain; KorQuAD 1.0's evaluation likewise counts characters, since
Korean eojeols carry their particles. Repeated characters count as often as both sides have them.

A refusal ("답할 수 없습니다") stands for the answer "unanswerable", as an empty gold answer does: as in
SQuAD 2.0 it gets no partial credit, 1 against an unanswerable gold answer and 0 against any other.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

_PARTICLES = sorted(
    (
        "입니다", "이었습니다", "였습니다", "이었다", "였다", "이다", "이에요", "예요", "이라고", "라고",
        "이며", "이고", "은", "는", "이", "가", "을", "를", "의", "에", "에서", "에게", "께서", "으로", "로",
        "와", "과", "도", "만", "까지", "부터", "처럼", "보다", "이나", "이란", "란", "에는", "에서는",
        "으로는", "로는",
    ),
    key=len,
    reverse=True,
)  # fmt: skip
_MIN_STEM_CHARACTERS = 2

_REFUSAL = re.compile(
    r"(?:(?:이|위|주어진|제공된|해당)?(?:문서|지문|본문|정보|내용|질문|자료)\S{0,12}?)?"
    r"(?:정답을|답을|답변을)?(?:답|답변|대답|알|확인|찾을|찾아볼|판단|파악)할?수"
    r"(?:가|는)?없(?:음|다|습니다|어요|네요|는질문|는질문입니다)"
    r"|정답없음|답없음|unanswerable|noanswer|cannotbeanswered"
)


@dataclass(frozen=True)
class AnswerScore:
    """One answer's F1 and exact match, each from 0 to 1."""

    f1: float
    exact: bool


def normalize_answer(text: str) -> str:
    """Return the normalized text, without spaces."""
    return "".join(_strip_particles(word) for word in _clean(text).split())


def is_refusal(text: str) -> bool:
    """Whether the whole text says that there is no answer; an empty text says nothing."""
    return _REFUSAL.fullmatch(_clean(text).replace(" ", "")) is not None


def score_answer(prediction: str, gold: str) -> AnswerScore:
    """Compare a prediction with the gold answer."""
    said = normalize_answer(prediction)
    wanted = normalize_answer(gold)
    if is_refusal(gold) or not wanted:
        right = is_refusal(prediction) or (not said and not wanted)
        return AnswerScore(f1=float(right), exact=right)
    if is_refusal(prediction):
        return AnswerScore(f1=0.0, exact=False)
    return AnswerScore(f1=compute_f1(said, wanted), exact=said == wanted)


def compute_f1(prediction: str, gold: str) -> float:
    """Return the F1 of two character multisets; 0 where one is empty and the other is not."""
    if not prediction or not gold:
        return float(prediction == gold)
    common = sum((Counter(prediction) & Counter(gold)).values())
    return 2 * common / (len(prediction) + len(gold))


def _clean(text: str) -> str:
    """Apply the first two steps; spaces stay."""
    text = unicodedata.normalize("NFKC", text).lower()
    kept = []
    for index, character in enumerate(text):
        decimal = (
            character == "."
            and 0 < index < len(text) - 1
            and text[index - 1].isdigit()
            and text[index + 1].isdigit()
        )
        quote = character in "`´"
        if decimal or not (unicodedata.category(character).startswith("P") or quote):
            kept.append(character)
    return " ".join("".join(kept).split())


def _strip_particles(word: str) -> str:
    while True:
        for particle in _PARTICLES:
            if word.endswith(particle) and len(word) - len(particle) >= _MIN_STEM_CHARACTERS:
                word = word[: -len(particle)]
                break
        else:
            return word
