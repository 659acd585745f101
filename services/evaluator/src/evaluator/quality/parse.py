"""Strict reading of a multiple-choice answer (parser `choice_letter`, version 2). Pure.

The prompt asks for a letter, as in "정답: A". Four forms are read, and nothing else:

1. a statement: 정답, 답, 답안:, Answer, "correct option" or \\boxed, an optional 은/는/이/is/:/= and
   보기/option, and one letter ("정답은 C입니다"; "정답은 A가 아니라 C입니다");
2. a statement the other way round: a letter and "가 정답입니다" or "is the answer";
3. without a statement: a reply, or its first line with a word in it, that is a letter with decoration: "(C)",
   "C. 서울", "Option C";
4. without a statement: "옳은 것은 C입니다" and its like, where no other such sentence, and no form 3, names
   another letter.

Of several statements the last one counts; one that names two letters, denies its letter, runs on into
another word or is taken back afterwards makes the reply unparsed. Two are looked through: one that the end
of the reply cuts behind "A가" says nothing yet, and one that merely runs on ("정답이 C인 이유는") stands for
its letter where an earlier clear one names the same. A mention without a letter ("정답은 없습니다") is no
statement.

What follows a letter may be its option's own text, whatever letters that holds.

A letter elsewhere in the text is never taken for an answer. Digits and circled digits are not letters: no
prompt asks for them. A letter beyond the item's options is no answer. The forms that are and are not read
stand in tests/answer_forms.tsv.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from lanekit.spec.benchmark import CHOICE_LETTERS

# Repetitions are bounded: on a broken model's endless "정답 - - -" backtracking would take minutes.
_OPEN = r"[\s*_`~\"'“”‘’(\[{<「『《【$]{0,16}"
_CLOSE = r"[*_`~\"'“”‘’)\]}>」』》】$]{0,16}"
_LINK = r"(?:\s*(?:은|는|이|is\b|[:=\-–—→⇒]{1,4}>?)){0,4}"
_NOUN = r"(?:\s*(?:option|choice|보기|선택지|선지)(?![a-z])\s*)?"
_NOT_THIS = rf"(?:{_OPEN}[A-Ea-e]{_CLOSE}번?\s*[이가]\s*아니(?:라|고),?)?"
_LISTED = r"(?P<listed>\s*(?:다음과|아래와)\s*같(?:습니다|다|음)\s*[.:]?)?"
_ANSWER = r"(?<!/)answer(?:\s+to\s+(?:the|this)\s+question)?"  # </answer> only ends one
_KEY = (
    r"(?<![^\W_])(?:최종\s*)?"
    r"(?:(?:정답|답)(?:\s*(?:번호|및\s*해설))?|답[변안](?=\s*[*_)\]]{0,8}\s*[은는:=])"
    rf"|(?:{_ANSWER}|(?:correct|right|best)\s+(?:option|choice)|\\f?boxed)(?![a-z]))"
)
_STATEMENT = re.compile(
    rf"{_KEY}\s*{_CLOSE}{_LINK}{_LISTED}{_NOUN}{_LINK}{_NOT_THIS}{_OPEN}{_NOUN}{_OPEN}"
    r"(?P<letters>[A-Ea-e]+)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"(?<![^\W_])(?:옳은|옳지\s?않은|맞는|틀린|(?:올)?바른|(?:올)?바르지\s?않은|잘못된|알맞은|아닌|거리가\s?먼"
    r"|(?:적절|적합|타당)(?:한|하지\s?않은)|해당(?:하는|하지\s?않는|되는|되지\s?않는))"
    rf"\s*것은\s*:?{_OPEN}{_NOUN}{_OPEN}(?P<letters>[A-E]+)(?![A-Za-z0-9])"
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
    rf"번?\s*(?:(?:보기|선택지|선지)?{_COPULA}{_END}|입니?$|이며\s|이고\s|이므로|에\s*해당[하한합함됩]"
    r"|이기\s*때문|으?로\s*(?:,|$)|으?로\s*(?:판단[됩합]|생각[됩합]|보입|추정[됩합])"
    r"|라고\s*(?:생각|판단[됩합]|할\s*수\s*있|봅니다|볼\s*수\s*있)|[이가]\s*(?:맞습니다|됩니다|옳습니다|적절합니다))"
    r"|번?\s*(?:$|[\n\r!,:;(\[–—]|\.(?![A-Za-z](?![A-Za-z]))|</)"
    r"|\s*-\s|\s+-|\s+(?:because|since|due\s+to)\b",
)
_BRACKET = re.compile(r"[)\]}>]")
_SUBJECT = re.compile(r"번?[이가]\s")
_UNSAID = re.compile(rf"{_CLOSE}번?[이가]\s*\Z")
_DENIAL = re.compile(r"\s*(?:아니|아님|아닌|아닙|제외|말고|빼고|not\b)", re.IGNORECASE)
# More than a denial: any doubt that is near enough to belong to the letter.
_DOUBT = re.compile(
    r"번?\s*(?:[이가은는를을도]|일|라고|라는|라면)?\s*(?:정?답이|것[이은]?|수[는도]?|리[가는]?|하기|할|보기|is|was|that)?"
    r"\s*(?:아니|아님|아닌|아닙|않|없|제외|말고|빼고|틀|오답|잘못|어렵|not\b|isn|wasn|wrong|incorrect|can(?:not|'t))",
    re.IGNORECASE,
)
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
# Letters that label values, by the mark behind the first: "A: 3, B: 5", "A (가), B (나)", "A. 4 B. 5".
_JOINT = r"(?:[\s,;/·&+]|[와과및나]\s?|또는\s?|그리고\s?)[*_\s]{0,4}"
_PAIRED = {
    mark: re.compile(rf"{_JOINT}(?P<letter>[A-E])[*_]{{0,4}}{tail}")
    for mark, tail in {":": r"\s?:\s?\S", "(": r"\s?\(", ".": r"\.\s?[^\s.]", ")": r"\)\s?\S"}.items()
}
_PREDICATE = re.compile(r"이며|입니다|이다|이므로")  # what stands behind it is said of another letter
_MARK = re.compile(r"번?\s?(?P<mark>[:(.)])")
_LABEL = re.compile(rf"(?:^|(?<=[\s*(\[])){_OPEN}(?P<letter>[A-E]){_CLOSE}[.):]\s+\S", re.MULTILINE)

_DIGIT_MARKS = re.compile(r"[①-⑳⑴-⒇➀-➓❶-❿]")
_PICTURES = re.compile("[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f\u200d]")
_LATEX_TEXT = re.compile(r"\\(?:text(?:bf|rm|sf)?|math(?:bf|rm|sf)|mbox)\s*\{")
_LATEX_MATH = re.compile(r"\\[()\[\]]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n\s*\n")
_LIST_CHARACTERS = 2000
_JOINED_CHARACTERS = 40
_LINE_CHARACTERS = 400  # of what follows a letter; a broken model's line may be the whole reply
_REST = re.compile(rf"(?P<closed>{_CLOSE})(?P<line>[^\n]*)")

# Between a letter and its option's text; a space alone will do where the text holds more than letters A to E.
_OPTION_MARK = re.compile(r"번?\s*(?:[.:)\]]|[-–—]\s|\()?[\s*_`\"'“‘「]*")
_LETTERS_ALONE = re.compile(r"[A-Ea-e](?:\W*[A-Ea-e])*\W*")
_TEXT_END = re.compile(rf"$|[^\w\s]|\s|{_COPULA}|[은는이가을를과와의로에]")
_LETTERS_END = re.compile(rf"\s*(?:모두|둘\s*다|전부)?\s*{_CLOSE}\s*(?:{_COPULA})?[\s.!]*$")


def parse_choice(
    text: str, n_options: int, options: Sequence[str] = (), *, thinking_opened: bool = False
) -> str | None:
    """Return the reply's answer letter (upper case), None where it is unparsed.

    Args:
        text: the model's reply.
        n_options: how many options the item has, 1 to 5; letters beyond it are no answer.
        options: their texts; empty where they are not known.
        thinking_opened: the prompt ended in an open `<think>`; then only what follows `</think>` counts.
    """
    reply = _clean(strip_thinking(text, thinking_opened=thinking_opened))
    lettered = zip(CHOICE_LETTERS, options, strict=False)  # pragma: no mutate (strict=None says the same)
    texts = {letter: _clean(option) for letter, option in lettered}
    found = [*_STATEMENT.finditer(reply), *_REVERSED.finditer(reply)]
    statements = sorted(
        (match for match in found if match.re is _REVERSED or not _UNSAID.match(reply, match.end())),
        key=lambda match: match.start("letters"),
    )
    if statements:
        if _is_taken_back(reply, statements[-1]):
            return None
        letter = _judge(reply, statements[-1], texts) or _find_restated(reply, statements, texts)
    else:
        letter = _parse_bare(reply, texts)
        sentences = list(_ASKED.finditer(reply))
        asked = {_judge(reply, match, texts) for match in sentences}
        if sentences and None not in asked and not _is_taken_back(reply, sentences[-1]):
            letters = asked | ({letter} if letter else set())
            letter = letters.pop() if len(letters) == 1 else None
    return letter if letter is not None and letter in CHOICE_LETTERS[:n_options] else None


def strip_thinking(text: str, *, thinking_opened: bool = False) -> str:
    """Return the text without its leading reasoning; empty where the reasoning was never closed.

    A closing tag at the very start, without reasoning, goes as well.
    """
    stripped = text.lstrip()
    if stripped.startswith("<think>") or thinking_opened:
        return stripped.partition("</think>")[2].strip()
    return stripped.removeprefix("</think>").lstrip()


def cut_reply(text: str, stop: Sequence[str], *, thinking_opened: bool = False) -> str:
    """Return the text up to the first stop text; `thinking_opened`: the first one after the reasoning."""
    kept = ""
    if thinking_opened:
        reasoning, closed, text = text.partition("</think>")
        kept = reasoning + closed
    found = [text.find(mark) for mark in stop if mark in text]
    return kept + (text[: min(found)] if found else text)


def _clean(text: str) -> str:
    """Return the text with pictures, LaTeX and spacing made plain.

    Circled and bracketed digits turn into a mark first, so that NFKC makes no numbers of them.
    """
    text = unicodedata.normalize("NFKC", _PICTURES.sub(" ", _DIGIT_MARKS.sub("#", text)))
    text = _LATEX_MATH.sub(" ", _LATEX_TEXT.sub("{", text))
    return _BLANK_LINES.sub("\n\n", _SPACES.sub(" ", text)).strip()


def _is_taken_back(reply: str, match: re.Match[str]) -> bool:
    return _TAKEN_BACK.search(reply, match.end()) is not None


def _judge(reply: str, match: re.Match[str], texts: Mapping[str, str]) -> str | None:
    """Return the letter of one statement, None where it is ambiguous or runs on."""
    letters = match["letters"]
    if len(letters) != 1:
        return None
    letter = letters.upper()
    if match.re is _REVERSED:
        before = reply[max(0, match.start() - _JOINED_CHARACTERS) : match.start()]
        return None if _JOINED_BEFORE.search(before) else letter
    closed, line = _split_rest(reply, match)
    if match.re is _STATEMENT and match["listed"]:
        labels = _LABEL.finditer(reply, match.end(), match.end() + _LIST_CHARACTERS)
        if any(label["letter"] != letter for label in labels):
            return None
    option_end = _find_option_end(texts.get(letter), closed + line, marked=match.re is _BARE)
    if option_end is not None:
        behind = (closed + line)[option_end:]
        return None if _is_paired(letter, closed, behind, line) else letter
    labelled = _BRACKET.search(closed) and line.startswith(" ")  # "(C) 서울"
    if match.re is _BARE and _SUBJECT.match(line):
        return None  # "A가 맞습니다" may be about one of several
    ends = _TAIL.match(line) or (labelled and not _DENIAL.match(line))
    if not ends or _names_another(line, letter) or _is_paired(letter, closed, line, line):
        return None
    return letter


def _split_rest(reply: str, match: re.Match[str]) -> tuple[str, str]:
    """Return the closing marks behind a letter, and what follows them on its line."""
    rest = _REST.match(reply, match.end(), match.end() + _LINE_CHARACTERS)
    return rest["closed"], rest["line"]  # type: ignore[index]  # it matches anything


def _find_restated(reply: str, statements: Sequence[re.Match[str]], texts: Mapping[str, str]) -> str | None:
    """Return an unclear last statement's letter where an earlier one, or a bare first line, names it too."""
    match = statements[-1]
    letter = match["letters"].upper()
    if match.re is _REVERSED:
        return None
    closed, line = _split_rest(reply, match)
    if _DOUBT.match(line) or _names_another(line, letter) or _is_paired(letter, closed, line, line):
        return None
    said = (_judge(reply, earlier, texts) for earlier in reversed(statements[:-1]))
    return letter if letter in said or _parse_bare(reply, texts) == letter else None


def _find_option_end(text: str | None, rest: str, *, marked: bool) -> int | None:
    """Return where its option's own text ends in what follows a letter, None where no such text follows.

    `marked`: a space alone between the two will not do; nor will it for a text of letters A to E.
    """
    start = _OPTION_MARK.match(rest).end()  # type: ignore[union-attr]  # it matches anything
    if not text or not start:
        return None
    end = start + len(text)
    if rest[start:end].casefold() != text.casefold():
        return None
    letters_alone = _LETTERS_ALONE.fullmatch(text) is not None
    if (marked or letters_alone) and not re.search(r"[.:)\]\-–—(]", rest[:start]):
        return None
    if re.match(rf"[은는이가]?{_DENIAL.pattern}", rest[end:]):
        return None
    return end if (_LETTERS_END if letters_alone else _TEXT_END).match(rest, end) else None


def _is_paired(letter: str, closed: str, line: str, whole: str) -> bool:
    """Whether another letter on the line carries the same mark as this one: both are labels of values."""
    if ")" in closed:
        mark = ")"
    elif found := _MARK.match(whole):
        mark = found["mark"]
    else:
        return False
    predicate = _PREDICATE.search(line)
    end = predicate.start() if predicate else len(line)
    return any(m["letter"] != letter for m in _PAIRED[mark].finditer(line, 0, end))


def _names_another(line: str, letter: str) -> bool:
    """Whether what follows a letter on its line joins a different letter to it."""
    line = line.removeprefix("번")
    joined = _AND.match(line)
    second = _SECOND.match(line, joined.end()) if joined else None
    found = (second, _SECOND_ALONE.match(line), _ALSO.search(line))
    return any(match is not None and match["letter"].upper() != letter for match in found)


def _parse_bare(reply: str, texts: Mapping[str, str]) -> str | None:
    start = 0
    for line in reply.splitlines(keepends=True):
        if any(map(str.isalnum, line)) and not line.startswith("```"):
            break
        start += len(line)
    match = _BARE.match(reply, start)
    if match is None or _is_taken_back(reply, match):
        return None
    letter = _judge(reply, match, texts)
    labels = {found["letter"] for found in _LABEL.finditer(reply)} - {letter}
    return None if labels else letter  # a list of the options is not an answer
