"""Short Korean answers in the form in which they are compared. Pure.

1. Unicode NFKC, lower case; dashes, tildes and middle dots are one each, a whole date is written as
   "2024년5월1일" whatever its form, "50 퍼센트" is "50%".
2. Punctuation goes away unless it tells answers apart: a sign before a number; point, slash, colon, range and
   list between numbers; %, ‰ and minutes behind one; # and & at a name ("C#", "R&D"). The comma of thousands
   goes. A text of such marks alone is left as it is.
3. Spaces go away, so that spacing variants are equal, but between two numbers: "1, 2" is not "12".
4. Endings are taken off as an alternative, not in place of the word: copulas, and particles that can be
   nothing else behind this syllable. 은 and 을 stand behind a final consonant, 는 and 를 behind none; what
   names are made with as well (이, 가, 로, 도, 과, 와, 만) stays: 고양이 is not 고양, 경기도 not 경기.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

_MIN_STEM_CHARACTERS = 2

# What NFKC leaves apart: dashes and the minus, tildes, middle dots, the slash of a fraction.
_VARIANTS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u223c\u301c\u02dc", "~"),
        **dict.fromkeys("\u00b7\u119e\u30fb\u2022\u2027\u22c5", "·"),
        "\u2044": "/",
        "`": "'",
        "´": "'",
    }
)
_SMALL = re.compile("[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215e]")
_POWER = re.compile(r"(?<=\d)[\u207b\u207a]?[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+")  # 10², not m²
_FRACTION = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")  # 1½ is no 11/2
_DIGIT = re.compile(r"\d")
# What stands before is looked at behind the first digits: most places of a text are passed faster so.
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,]|\.\d+[.,]\d)")
_DATE = re.compile(
    r"\d{4}(?<![\d./-]\d{4})(?:\s*([-./])\s*0?(\d{1,2})\s*\1\s*0?(\d{1,2})(?:\s*(?:일|\.(?!\d)))?"
    r"|\s*년\s*0?(\d{1,2})\s*월\s*0?(\d{1,2})\s*일)(?![\d/-])"
)
_LEADING_ZERO = re.compile(r"0(?<![\d.,:/-]0)(?=\d[월일시분])")
_PERCENT = re.compile(r"(?<=\d)\s*퍼센트")
_LOOSE = re.compile(r"(?<=\d)\s*([/:])\s*(?=\d)|(?<=\d)\s+-\s+(?=\d)|(?<=[^\W_])\s*~\s*(?=-?\d)")
_MAY_BE_LOOSE = re.compile(r"\s[-/:~]|[/:~]\s")
_NUMBER_WORD = re.compile(r"\d\S*\Z")
_WORD_CHARACTERS = 20  # of what stands before a dash; a broken model's word may be the whole reply
_NOTHING = frozenset(".,!'\"_")
_ALNUM = re.compile(r"[^\W_]")


def normalize_answer(text: str) -> str:
    """Return the text's normal form, its endings taken off, without spaces but between numbers."""
    return join_words(normalize_words(text))


def normalize_words(text: str) -> list[str]:
    """Return the words of the text's normal form."""
    return [_strip_endings(word) for word in clean_text(text).split()]


def list_forms(text: str) -> tuple[str, ...]:
    """Return what the text may be compared as: as it stands and, where that is another, without endings."""
    words = clean_text(text).split()
    plain, bare = join_words(words), join_words([_strip_endings(word) for word in words])
    return (plain,) if plain == bare else (plain, bare)


def join_words(words: list[str]) -> str:
    """Join words without spaces, but where two numbers would become one."""
    parts = words[:1]
    for before, after in pairwise(words):
        meets = before[-1].isdigit() and (after[0].isdigit() or after[0] == "-")
        parts.append(f" {after}" if meets else after)
    return "".join(parts)


def clean_text(text: str) -> str:
    """Apply steps 1 and 2; words are parted by one space."""
    if not text.isascii():
        if _SMALL.search(text):
            text = _POWER.sub(lambda found: f"^{found.group()}", _FRACTION.sub(" ", text))
        text = unicodedata.normalize("NFKC", text).translate(_VARIANTS)
    text = text.lower()
    if _DIGIT.search(text):
        text = _write_numbers(text)
    cleaned = " ".join(_MARK.sub(_weigh_mark, text).translate(_PUNCTUATION).split())
    return cleaned or "".join(mark for mark in text if _is_symbol(mark))


def _write_numbers(text: str) -> str:
    """Write numbers, dates and what stands between numbers in one form."""
    if "," in text:
        text = _THOUSANDS.sub(_write_thousands, text)
    text = _LEADING_ZERO.sub("", _DATE.sub(_write_date, text))
    if "퍼센트" in text:
        text = _PERCENT.sub("%", text)
    if _MAY_BE_LOOSE.search(text):
        text = _LOOSE.sub(lambda found: found.group(1) or "~", text)
    return text


def _write_thousands(found: re.Match[str]) -> str:
    at = found.start()
    is_part = at > 0 and (found.string[at - 1].isdigit() or found.string[at - 1] in (".", ","))
    return found.group() if is_part else found.group().replace(",", "")


def _write_date(found: re.Match[str]) -> str:
    month, day = found.group(2) or found.group(4), found.group(3) or found.group(5)
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return found.group()
    return f"{found.group()[:4]}년{int(month)}월{int(day)}일"


def _weigh_mark(found: re.Match[str]) -> str:
    """Return what stays of a mark in its place: itself, another, a space, or nothing."""
    text, at = found.string, found.start()
    before = text[at - 1] if at else " "
    after = text[at + 1] if at + 1 < len(text) else " "
    return _CONTEXTUAL[text[at]](before, after, text, at)


def _weigh_dash(before: str, after: str, text: str, at: int) -> str:
    """Keep a sign ("-5", "~-5") and a range ("10-20", "1990년-2000년"); "코로나-19" and "k-pop" have none."""
    starts_number = after.isdigit() or (after == "." and text[at + 2 : at + 3].isdigit())
    if not starts_number:
        return ""
    if before.isdigit() or not _ALNUM.match(before):
        return "-"
    word = text[max(0, at - _WORD_CHARACTERS) : at]
    return "-" if not before.isascii() and _NUMBER_WORD.search(word) else ""


def _weigh_tilde(before: str, after: str, text: str, at: int) -> str:
    """A range, as the dash writes it."""
    after_sign = after == "-" and text[at + 2 : at + 3].isdigit()
    return "-" if (_ALNUM.match(before) or before == "%") and (after.isdigit() or after_sign) else ""


def _weigh_stop(before: str, after: str, text: str, at: int) -> str:
    if not after.isdigit():
        return ""
    if before.isdigit():
        return "."
    return "0." if not _ALNUM.match(before) and before != "." else ""  # ".5" is 0.5


def _weigh_dot(before: str, after: str, text: str, at: int) -> str:
    return "." if before.isdigit() and after.isdigit() else ""  # "3·1" is written "3.1" as well


def _weigh_comma(before: str, after: str, text: str, at: int) -> str:
    return " " if before.isdigit() and (after.isdigit() or after in ("-", ".")) else ""


def _weigh_between_numbers(before: str, after: str, text: str, at: int) -> str:
    return text[at] if before.isdigit() and after.isdigit() else ""


def _weigh_after_number(before: str, after: str, text: str, at: int) -> str:
    return text[at] if before.isdigit() or before == text[at] else ""


def _weigh_hash(before: str, after: str, text: str, at: int) -> str:
    return "#" if _ALNUM.match(before) else ""


def _weigh_ampersand(before: str, after: str, text: str, at: int) -> str:
    left, right = text[max(0, at - 2) : at].rstrip(), text[at + 1 : at + 3].lstrip()
    return "&" if left and right and _ALNUM.match(left[-1]) and _ALNUM.match(right[0]) else ""


def _weigh_at(before: str, after: str, text: str, at: int) -> str:
    return text[at] if _ALNUM.match(before) and _ALNUM.match(after) else ""


_CONTEXTUAL = {
    "-": _weigh_dash,
    "~": _weigh_tilde,
    ".": _weigh_stop,
    "·": _weigh_dot,
    ",": _weigh_comma,
    "/": _weigh_between_numbers,
    ":": _weigh_between_numbers,
    "*": _weigh_between_numbers,
    "′": _weigh_after_number,  # NFKC writes ″ as two of them
    "#": _weigh_hash,
    "&": _weigh_ampersand,
    "@": _weigh_at,
}


_MARK = re.compile(f"[{re.escape(''.join(_CONTEXTUAL))}]")


class _Punctuation(dict[int, int | None]):
    """For `str.translate`: drops punctuation but what was weighed; filled as characters turn up."""

    def __missing__(self, code: int) -> int | None:
        mark = chr(code)
        is_kept = mark in _CONTEXTUAL or mark in ("%", "‰") or not unicodedata.category(mark).startswith("P")
        self[code] = code if is_kept else None
        return self[code]


_PUNCTUATION = _Punctuation()


def _is_symbol(mark: str) -> bool:
    """Whether a mark can be an answer by itself; stops, quotes and brackets say nothing."""
    if mark.isspace() or mark in _NOTHING:
        return False
    return unicodedata.category(mark) not in ("Ps", "Pe", "Pi", "Pf")


# Each ending by what its stem must end with: a final consonant, none, one but ㄹ, or anything.
_ANY, _CLOSED, _OPEN, _CLOSED_BUT_L = range(4)
_LAST_L = 8
_ENDINGS = {
    **dict.fromkeys(
        ("입니다", "이었습니다", "였습니다", "이었다", "였다", "이다", "이에요", "예요", "이며", "이고"), _ANY
    ),
    **dict.fromkeys(("에서", "에게", "께서", "까지", "부터", "처럼", "보다", "에"), _ANY),
    **dict.fromkeys(("은", "을", "이라고", "이나", "이란"), _CLOSED),
    **dict.fromkeys(("는", "를"), _OPEN),
    "으로": _CLOSED_BUT_L,
}
_LONGEST_FIRST = sorted(_ENDINGS, key=len, reverse=True)
_ANY_ENDING = tuple(_ENDINGS)
# Behind another particle these can be nothing else: 에서의, 까지만, 에도.
_SECOND = re.compile(r"(?<=에서|에게|까지|부터|으로|.에)(?:만|도|의|나|와|과)\Z")


@lru_cache(maxsize=1 << 16)
def _strip_endings(word: str) -> str:
    while True:
        second = _SECOND.search(word)
        if second and second.start() > _MIN_STEM_CHARACTERS:
            word = word[: second.start()]
        if not word.endswith(_ANY_ENDING):
            return word
        stem = next(
            (
                word[: -len(ending)]
                for ending in _LONGEST_FIRST
                if word.endswith(ending) and _fits(word[: -len(ending)], _ENDINGS[ending])
            ),
            None,
        )
        if stem is None:
            return word
        word = stem


def _fits(stem: str, needed: int) -> bool:
    if len(stem) < _MIN_STEM_CHARACTERS:
        return False
    if needed == _ANY or not "가" <= stem[-1] <= "힣":  # how a digit or a Latin letter is read is not known
        return True
    last = (ord(stem[-1]) - ord("가")) % 28
    if needed == _OPEN:
        return last == 0
    return last != 0 and (needed == _CLOSED or last != _LAST_L)
