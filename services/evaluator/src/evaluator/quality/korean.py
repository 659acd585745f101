"""Whether a reply is written in Korean. Pure."""

from __future__ import annotations

import re
import unicodedata

MIN_HANGUL_SHARE = 0.5
_NARROW = 1 / 3  # a Hangul syllable, a Chinese character or a kana says as much as about three letters

_CODE = re.compile(r"(```|~~~).*?(?:\1|\Z)|`[^`\n]*`", re.DOTALL)
_FORMULA = re.compile(
    r"\$\$[^가-힣]+?\$\$|\$[^$\n가-힣]+\$|\\\[[^가-힣]+?\\\]|\\\([^가-힣]+?\\\)|\\[A-Za-z]+"
)
_ADDRESS = re.compile(r"https?://\S+|[\w.+-]+@[\w.-]+|</?[A-Za-z][^<>\n]*>")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+#.\-]*(?=[가-힣])")


def is_korean(text: str) -> bool:
    """Tell whether at least half of a reply's letters are Hangul.

    Letters count by what they say: a syllable, a Chinese character or a kana as one, a letter of an alphabet
    as a third. Left out are code (fenced or in backticks, closed or cut off), formulas, addresses, tags, and
    words with a Korean particle behind them ("Python은"): they are names. Digits and signs are no letters. A
    reply of code or formulas alone is Korean where there is Hangul in it; one without any Hangul, the empty
    one too, is not.
    """
    text = unicodedata.normalize("NFC", text)
    prose = text
    for pattern in (_CODE, _FORMULA, _ADDRESS, _NAME):
        prose = pattern.sub(" ", prose)
    hangul, other = _weigh(prose)
    if not hangul and not other:
        return _weigh(text)[0] > 0
    return hangul > 0 and hangul / (hangul + other) >= MIN_HANGUL_SHARE


def _weigh(text: str) -> tuple[float, float]:
    """Return the weights of the Hangul and of all other letters."""
    hangul = other = 0.0
    for character in text:
        if "가" <= character <= "힣":
            hangul += 1
        elif "ㄱ" <= character <= "ㆎ":
            hangul += _NARROW
        elif character.isalpha():
            other += 1 if _is_wide(character) else _NARROW
    return hangul, other


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) == "W"
