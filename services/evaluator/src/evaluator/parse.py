"""Strict reading of a multiple-choice answer (parser `choice_letter`, version 2). Pure.

The prompt asks for a letter, as in "정답: A". Three forms are read, and nothing else:

1. a statement: 정답, 답, Answer, "correct option" or \\boxed, an optional 은/는/이/is/:/= and 보기/option,
   and one letter ("정답은 C입니다");
2. a statement the other way round: a letter and "가 정답입니다" or "is the answer";
3. without a statement: a reply, or its first line with a word in it, that is a letter with decoration: "(C)",
   "C. 서울", "Option C".

Of several statements the last one counts; one that names two letters, denies its letter, runs on into
another word or is taken back afterwards makes the reply unparsed. A mention without a letter
("정답은 없습니다") is no statement.

A letter elsewhere in the text is never taken for an answer. Digits and circled digits are not letters: no
prompt asks for them. A letter beyond the item's options is no answer. The forms that are and are not read
stand in tests/answer_forms.tsv.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lanekit.benchmarks import CHOICE_LETTERS

# Repetitions are bounded: on a broken model's endless "정답 - - -" backtracking would take minutes.
_OPEN = r"[\s*_`~\"'“”‘’(\[{<「『《【$]{0,16}"
_CLOSE = r"[*_`~\"'“”‘’)\]}>」』》】$]{0,16}"
_LINK = r"(?:\s*(?:은|는|이|is\b|[:=\-–—→⇒]{1,4}>?)){0,4}"
_NOUN = r"(?:\s*(?:option|choice|보기|선택지|선지)(?![a-z])\s*)?"
_ANSWER = r"(?<!/)answer(?:\s+to\s+(?:the|this)\s+question)?"  # </answer> only ends one
_KEY = (
    r"(?<![^\W_])(?:최종\s*)?"
    rf"(?:정답|답|{_ANSWER}|(?:correct|right|best)\s+(?:option|choice)|\\f?boxed)(?![a-z])"
)
_STATEMENT = re.compile(
    rf"{_KEY}\s*{_CLOSE}{_LINK}{_NOUN}{_LINK}{_OPEN}(?P<letters>[A-Ea-e]+)(?![A-Za-z0-9])", re.IGNORECASE
)
_BARE = re.compile(rf"{_OPEN}(?:(?i:option|보기|선택지|선지)\s*{_OPEN})?(?P<letters>[A-Ea-e])(?![A-Za-z0-9])")

_END = r"\s*(?:$|[\n\r.!,;()*_`\"'」』])"
_COPULA = r"(?:입니다|이다|이며|이고|이에요|예요|에요|임|인\s*것\s*같습니다)"
_REVERSED = re.compile(
    rf"(?<![^\W_])(?P<letters>[A-E]){_CLOSE}"
    rf"(?:번?\s*[이가]\s*(?:정답|답)(?:{_COPULA}{_END}|으로\s*(?:판단|생각|보입))"
    r"|\s+is\s+the\s+(?:correct\s+|right\s+|best\s+)?answer(?![a-z])(?!\s*\?))"
)
_JOINED_BEFORE = re.compile(
    r"(?<![A-Za-z0-9])[A-E]\W*(?:[,/&와과나및]|이나|또는|혹은|하고|그리고|\bn?or\b|\band\b)\W*$"
)

# What may stand behind the letter (and its closing marks): the end, the end of a sentence, the option's text
# behind punctuation or in brackets, a copula, a reason.
_TAIL = re.compile(
    rf"번?\s*(?:{_COPULA}{_END}|이며\s|이고\s|으?로\s*(?:판단[됩합]|생각[됩합]|보입|추정[됩합])"
    r"|라고\s*(?:생각|판단[됩합]|할\s*수\s*있|봅니다|볼\s*수\s*있)|[이가]\s*(?:맞습니다|됩니다|옳습니다|적절합니다))"
    r"|번?\s*(?:$|[\n\r!,:;(\[–—]|\.(?![A-Za-z](?![A-Za-z]))|</)"
    r"|\s*-\s|\s+-|\s+(?:because|since|due\s+to)\b",
)
_SUBJECT = re.compile(r"번?[이가]\s")
_DENIAL = re.compile(r"\s*(?:아니|아님|아닌|제외|말고|빼고|not\b)", re.IGNORECASE)
_AND = re.compile(
    r"(?:\s|[,/·&+|~()\[\]*_`\"'와과나및]|이나|또는|혹은|아니면|하고|이랑|랑|그리고|or\b|and\b)+",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r"(?P<letter>[A-Ea-e])(?![A-Za-z0-9])(?=$|[^\w\s]|\s|번|은|는|이|가|을|를|도|와|과|의|로|중|입|예|모|둘)"
)
_SECOND_ALONE = re.compile(rf"[\s.):;\-–—*_]*(?P<letter>[A-Ea-e]){_CLOSE}\s*(?:$|[\n\r.,:;)])")
_ALSO = re.compile(r"(?<![A-Za-z0-9])(?P<letter>[A-E])번?\s*(?:도|역시)\s*(?:정답|답|맞|옳)")
_TAKEN_BACK = re.compile(
    r"(?:^|[.!?\n(])\s*(?:정정(?:[:,]|합니다|하면)|아니[,요]|잠깐|잠시만|다시\s*(?:보니|생각|계산)|actually\b|wait\b"
    r"|correction\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(rf"(?:^|(?<=[\s*(\[])){_OPEN}(?P<letter>[A-E]){_CLOSE}[.):]\s+\S", re.MULTILINE)

_DIGIT_MARKS = re.compile(r"[①-⑳⑴-⒇➀-➓❶-❿]")
_PICTURES = re.compile("[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f\u200d]")
_LATEX_TEXT = re.compile(r"\\(?:text(?:bf|rm|sf)?|math(?:bf|rm|sf)|mbox)\s*\{")
_LATEX_MATH = re.compile(r"\\[()\[\]]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n\s*\n")


def parse_choice(text: str, n_options: int, *, thinking_opened: bool = False) -> str | None:
    """Return the reply's answer letter (upper case), None where it is unparsed.

    Args:
        text: the model's reply.
        n_options: how many options the item has, 1 to 5; letters beyond it are no answer.
        thinking_opened: the prompt ended in an open `<think>`; then only what follows `</think>` counts.
    """
    reply = _clean(strip_thinking(text, thinking_opened=thinking_opened))
    statements = [*_STATEMENT.finditer(reply), *_REVERSED.finditer(reply)]
    if statements:
        letter = _judge(reply, max(statements, key=lambda match: match.start("letters")))
    else:
        letter = _parse_bare(reply)
    return letter if letter is not None and letter in CHOICE_LETTERS[:n_options] else None


def strip_thinking(text: str, *, thinking_opened: bool = False) -> str:
    """Return the text without its leading reasoning; empty where the reasoning was never closed."""
    stripped = text.lstrip()
    if stripped.startswith("<think>") or thinking_opened:
        _, closed, rest = stripped.partition("</think>")
        return rest.strip() if closed else ""
    return stripped


def cut_reply(text: str, stop: Sequence[str], *, thinking_opened: bool = False) -> str:
    """Return the text up to the first stop text; `thinking_opened`: the first one after the reasoning."""
    start = 0
    if thinking_opened:
        closed = text.find("</think>")
        if closed < 0:
            return text
        start = closed + len("</think>")
    found = [position for position in (text.find(mark, start) for mark in stop) if position >= 0]
    return text[: min(found)] if found else text


def _clean(text: str) -> str:
    """Return the text with pictures, LaTeX and spacing made plain.

    Circled and bracketed digits turn into a mark first, so that NFKC makes no numbers of them.
    """
    text = unicodedata.normalize("NFKC", _PICTURES.sub(" ", _DIGIT_MARKS.sub("#", text)))
    text = _LATEX_MATH.sub(" ", _LATEX_TEXT.sub("{", text))
    return _BLANK_LINES.sub("\n\n", _SPACES.sub(" ", text)).strip()


def _judge(reply: str, match: re.Match[str]) -> str | None:
    """Return the letter of one statement, None where it is ambiguous, runs on or is taken back."""
    letters = match["letters"]
    if len(letters) != 1 or _TAKEN_BACK.search(reply, match.end()):
        return None
    letter = letters.upper()
    if match.re is _REVERSED:
        return None if _JOINED_BEFORE.search(reply[max(0, match.start() - 40) : match.start()]) else letter
    rest = reply[match.end() :]
    closers = re.match(_CLOSE, rest)
    closed = closers[0] if closers else ""
    line = rest[len(closed) :].split("\n", 1)[0]
    labelled = any(mark in closed for mark in ")]}>") and line.startswith(" ")  # "(C) 서울"
    if match.re is _BARE and _SUBJECT.match(line):
        return None  # "A가 맞습니다" may be about one of several
    ends = _TAIL.match(line) or (labelled and not _DENIAL.match(line))
    return None if not ends or _names_another(line, letter) else letter


def _names_another(line: str, letter: str) -> bool:
    """Whether what follows a letter on its line joins a different letter to it."""
    after = re.match(r"번", line)
    line = line[after.end() if after else 0 :]
    joined = _AND.match(line)
    second = _SECOND.match(line, joined.end()) if joined else None
    found = (second, _SECOND_ALONE.match(line), _ALSO.search(line))
    return any(match is not None and match["letter"].upper() != letter for match in found)


def _parse_bare(reply: str) -> str | None:
    start = 0
    for line in reply.splitlines(keepends=True):
        if any(map(str.isalnum, line)) and not line.startswith("```"):
            break
        start += len(line)
    match = _BARE.match(reply, start)
    if match is None:
        return None
    letter = _judge(reply, match)
    labels = {found["letter"] for found in _LABEL.finditer(reply)} - {letter}
    return None if labels else letter  # a list of the options is not an answer
