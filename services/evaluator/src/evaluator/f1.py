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
SQuAD 2.0 it gets no partial credit, 1 against an unanswerable gold answer and 0 against any other. A reply
that says nothing is no refusal and scores 0: silence does not tell that the documents hold no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

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
_ANY_PARTICLE = tuple(_PARTICLES)
_MIN_STEM_CHARACTERS = 2


class _Punctuation(dict[int, int | None]):
    """For `str.translate`: drops punctuation but the full stop; filled as characters turn up."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        dropped = character != "." and (unicodedata.category(character).startswith("P") or character in "`´")
        self[code] = None if dropped else code
        return self[code]


_PUNCTUATION = _Punctuation()
_LONE_STOP = re.compile(r"(?<!\d)\.|\.(?!\d)")

# Read on the whole cleaned text, without spaces.
_SORRY = r"(?:죄송하지만|죄송합니다만?)?"
_SOURCE = (
    r"(?:(?:이|위|주어진|제공된|제시된|해당|관련)?(?:문서|지문|본문|문맥|정보|내용|질문|자료)\S{0,12}?)?"
)
_NONE = r"없(?:음|다|습니다|어요|네요|는질문|는질문입니다)"
_REFUSAL = re.compile(
    rf"{_SORRY}{_SOURCE}(?:(?:정답|답변?|정보|내용)[을를이가])?(?:답|답변|대답|알|확인|찾을|찾아볼|판단|파악)할?수[가는]?{_NONE}"
    rf"|{_SORRY}{_SOURCE}(?:해당|관련)?(?:정보|내용|정답|답변?|언급)[이가은는]?{_NONE}"
    rf"|{_SOURCE}(?:언급|명시|기재|서술)(?:되어|돼)?있지않(?:음|다|습니다|아요)"
    r"|정답없음|답없음|답변불가(?:능)?(?:함|합니다)?"
    r"|(?:the(?:answer|question))?(?:is)?unanswerable|noanswer|(?:the(?:answer|question))?cannotbe(?:answered|found\S{0,30})"
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


def is_unanswerable(gold: str) -> bool:
    """Whether a gold answer says that the documents hold none: it is a refusal, or empty."""
    return is_refusal(gold) or not normalize_answer(gold)


def score_answer(prediction: str, gold: str) -> AnswerScore:
    """Compare a prediction with the gold answer."""
    refused = is_refusal(prediction)
    if is_unanswerable(gold):
        return AnswerScore(f1=float(refused), exact=refused)
    said = normalize_answer(prediction)
    wanted = normalize_answer(gold)
    if refused or not said:
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
    return " ".join(_LONE_STOP.sub("", text).translate(_PUNCTUATION).split())


@lru_cache(maxsize=1 << 16)
def _strip_particles(word: str) -> str:
    while word.endswith(_ANY_PARTICLE):
        for particle in _PARTICLES:
            if word.endswith(particle) and len(word) - len(particle) >= _MIN_STEM_CHARACTERS:
                word = word[: -len(particle)]
                break
        else:
            break
    return word
