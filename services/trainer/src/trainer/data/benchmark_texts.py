"""The benchmarks' own texts, as the contamination guard compares them: never the prompt around them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lanekit.files.json_lines import read_json_lines
from lanekit.spec.rows import ROW_PARSERS, ChoiceItem, DocumentItem, Item, parse_row

# Marks before an option: "A.", "(3)", "②". Taken out of both sides, so that lettering does not matter.
_OPTION_MARK = re.compile(r"(?:(?<!\S)[(\[]?[A-Ea-e1-5][.):\]](?=\s)|[①-⑤])")
_WORD = re.compile(r"[^\W_]+")
_HASH_BYTES = 16


@dataclass(frozen=True)
class ItemText:
    """One text of a benchmark item.

    A whole message equal to it counts however short it is where `is_whole`; else it must be long enough.
    """

    benchmark: str
    item: str
    text: str
    is_whole: bool = False


def split_words(text: str) -> list[str]:
    """Return a text's words: option marks and punctuation out, NFKC, casefolded."""
    plain = unicodedata.normalize("NFKC", _OPTION_MARK.sub(" ", text)).casefold()
    return _WORD.findall(plain)


def hash_letters(words: list[str]) -> bytes:
    """Return the hash of a text's letters, whatever its spacing."""
    return hashlib.blake2b("".join(words).encode(), digest_size=_HASH_BYTES).digest()


def read_item_texts(suite: Path) -> Iterator[ItemText]:
    """Yield the texts of every benchmark set that lies in `suite`.

    Raises:
        InputError: a line is not a JSON object, or not a row of its benchmark; names file and line.
    """
    for name in ROW_PARSERS:
        path = suite / f"{name}.jsonl"
        if path.is_file():
            for number, row in read_json_lines(path):
                yield from list_texts(name, parse_row(name, row, f"{path}:{number}"))


def list_texts(benchmark: str, item: Item) -> list[ItemText]:
    """Return one item's texts.

    A choice question goes with its options, in order: many questions are stock phrases ("which of these is
    right?"). A document question stands after its documents and, apart, alone. A chat item has its turns and
    its references; its first turn is the item, the others lean on it.
    """
    if isinstance(item, ChoiceItem):
        whole: str = "\n".join([item.question, *item.options])
        parts: tuple[str, ...] = ()
    elif isinstance(item, DocumentItem):
        whole, parts = f"{item.context}\n{item.question}", (item.question,)
    else:
        whole, parts = item.turns[0], (*item.turns[1:], *item.references)
    return [
        ItemText(benchmark, item.id, whole, is_whole=True),
        *(ItemText(benchmark, item.id, part) for part in parts if part),
    ]
