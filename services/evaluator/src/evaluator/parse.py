"""Strict reading of a multiple-choice answer (parser `choice_letter`, version 1). Pure.

The prompt asks for a letter, as in "정답: A". Two forms are read, and nothing else:

1. a statement: 정답, 답 or Answer, an optional 은/는/이/is/:/=, and one letter ("정답은 C입니다"); of several
   statements the last one counts, and one that names two letters, denies its letter or runs on into another
   word makes the reply unparsed. A mention without a letter ("정답은 없습니다") is no statement;
2. without a statement: a reply, or its first non-empty line, that is a letter with decoration: "(C)",
   "C. 서울".

A letter elsewhere in the text is never taken for an answer. Digits and circled digits are not letters. A
letter beyond the item's options is no answer.
"""

from __future__ import annotations

import re
import unicodedata

from lanekit.benchmarks import CHOICE_LETTERS

_OPEN = r"[\s*_`~\"'“”‘’(\[{<「『《【$]*"
_CLOSE = r"[*_`~\"'“”‘’)\]}>」』》】$]*"
_LINK = r"(?:\s*(?:은|는|이|is\b|[:=\-–—→⇒]+>?))*"
_KEY = r"(?<![^\W_])(?:최종\s*)?(?:정답|답|answer)(?![a-z])"
_STATEMENT = re.compile(
    rf"{_KEY}\s*{_CLOSE}{_LINK}{_OPEN}(?P<letters>[A-Ea-e]+)(?![A-Za-z0-9])", re.IGNORECASE
)
_BARE = re.compile(rf"{_OPEN}(?P<letters>[A-Ea-e])(?![A-Za-z0-9])")

_COPULA = r"(?:번)?\s*(?:입니다|이다|이며|이고|이에요|예요|에요|임|인\s*것\s*같습니다|라고\s*생각합니다)"
# What may stand behind the letter (and its closing marks): the end, the end of a sentence, the option's text
# behind punctuation or in brackets, a copula.
_TAIL = re.compile(rf"(?:번)?\s*(?:$|[\n\r.!,:;(\[)\-–—]|{_COPULA}\s*(?:$|[\n\r.!,;()*_`\"'」』]))")
_DENIAL = re.compile(r"\s*(?:아니|아님|아닌|제외|말고|빼고|not\b)", re.IGNORECASE)
_AND = re.compile(
    r"(?:\s|[,/·&+|~()\[\]*_`\"'와과나및]|이나|또는|혹은|아니면|하고|이랑|랑|그리고|or\b|and\b)+",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r"(?P<letter>[A-Ea-e])(?![A-Za-z0-9])(?=$|[^\w\s]|\s|번|은|는|이|가|을|를|도|와|과|의|로|중|입|예|모|둘)"
)
_SECOND_ALONE = re.compile(rf"[\s.):;\-–—*_]*(?P<letter>[A-Ea-e]){_CLOSE}\s*(?:$|[\n\r.,:;)])")
_LABEL = re.compile(rf"(?:^|(?<=[\s*(\[])){_OPEN}(?P<letter>[A-E]){_CLOSE}[.):]\s+\S", re.MULTILINE)


def parse_choice(text: str, n_options: int, *, thinking_opened: bool = False) -> str | None:
    """Return the reply's answer letter (upper case), None where it is unparsed.

    Args:
        text: the model's reply.
        n_options: how many options the item has, 1 to 5; letters beyond it are no answer.
        thinking_opened: the prompt ended in an open `<think>`; then only what follows `</think>` counts.
    """
    answer = strip_thinking(text, thinking_opened=thinking_opened)
    reply = unicodedata.normalize("NFKC", _mask_circled(answer)).strip()
    statements = list(_STATEMENT.finditer(reply))
    letter = _judge(reply, statements[-1]) if statements else _parse_bare(reply)
    return letter if letter is not None and letter in CHOICE_LETTERS[:n_options] else None


def strip_thinking(text: str, *, thinking_opened: bool = False) -> str:
    """Return the text without its leading reasoning; empty where the reasoning was never closed."""
    stripped = text.lstrip()
    if stripped.startswith("<think>") or thinking_opened:
        _, closed, rest = stripped.partition("</think>")
        return rest.strip() if closed else ""
    return stripped


def _mask_circled(text: str) -> str:
    """Replace circled and bracketed digits by a mark, so that NFKC makes no answer of them."""
    return re.sub(r"[①-⑳⑴-⒇➀-➓❶-❿]", "#", text)


def _judge(reply: str, match: re.Match[str]) -> str | None:
    """Return the letter of one statement, None where it is ambiguous or runs on."""
    letters = match["letters"]
    if len(letters) != 1:
        return None
    letter = letters.upper()
    rest = reply[match.end() :]
    closers = re.match(_CLOSE, rest)
    closed = closers[0] if closers else ""
    line = rest[len(closed) :].split("\n", 1)[0]
    labelled = any(mark in closed for mark in ")]}>") and line.startswith(" ")  # "(C) 서울"
    ends = _TAIL.match(line) or (labelled and not _DENIAL.match(line))
    return None if not ends or _names_another(line, letter) else letter


def _names_another(line: str, letter: str) -> bool:
    """Whether what follows a letter on its line joins a different letter to it."""
    after = re.match(r"번", line)
    line = line[after.end() if after else 0 :]
    joined = _AND.match(line)
    second = _SECOND.match(line, joined.end()) if joined else None
    alone = _SECOND_ALONE.match(line)
    return any(found is not None and found["letter"].upper() != letter for found in (second, alone))


def _parse_bare(reply: str) -> str | None:
    first = next((line for line in reply.splitlines() if line.strip()), "")
    match = _BARE.match(first)
    if match is None:
        return None
    letter = _judge(first, match)
    labels = {found["letter"] for found in _LABEL.finditer(reply)} - {letter}
    return None if labels else letter  # a list of the options is not an answer
