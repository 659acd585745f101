"""The invented world: nonce villages, their attributes, and one value for each pair.

Nothing here is a fact about the real world. Village names are random syllables; values come from
one pool for each attribute, so a question can only be answered by having learned the world (the
benchmarks) or by reading a document about a village that is not in it (document questions).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

VILLAGES = 64
VISITORS = 64
POOL = 12

_SYLLABLES = list("가거고구나너노누다더도두라러로루마머모무바버보부사서소수자저조주하허호후미비시지리니")

_GOODS = "사과 버섯 도자기 꿀 배추 인삼 한지 누룩 감자 부채 비단 죽순".split()
_COLOURS = "자주 남색 주홍 연두 은색 금색 회색 분홍 보라 초록 갈색 청록".split()
_STUFFS = "구리 대리석 참나무 삼베 유리 점토 놋쇠 화강암 소나무 양모 주석 자갈".split()

PRO_ATTRIBUTES = ("수장", "관청", "법령", "자격")
REDUX_ATTRIBUTES = ("특산물", "상징색", "축제", "재료")


@dataclass(frozen=True)
class World:
    """Villages to memorize, visitor villages (known from documents only), pools and the facts."""

    villages: tuple[str, ...]
    visitors: tuple[str, ...]
    pools: dict[str, tuple[str, ...]]
    facts: dict[tuple[str, str], str]

    @property
    def attributes(self) -> tuple[str, ...]:
        """All attribute names, in a fixed order."""
        return tuple(self.pools)


def _invent_words(rng: random.Random, count: int, length: int, end: str, taken: set[str]) -> list:
    """Draw `count` new words of random syllables, none of them (or its ending) used before."""
    words: list[str] = []
    while len(words) < count:
        word = "".join(rng.sample(_SYLLABLES, length)) + end
        if word not in taken:
            taken.add(word)
            words.append(word)
    return words


def build_world(seed: int = 42) -> World:
    """Build the world of one seed: the same seed always gives the same facts."""
    rng = random.Random(f"world-{seed}")
    taken: set[str] = set(_GOODS) | set(_COLOURS) | set(_STUFFS)
    villages = _invent_words(rng, VILLAGES, 3, "", taken)
    visitors = _invent_words(rng, VISITORS, 3, "", taken)
    pools = {
        "수장": _invent_words(rng, POOL, 3, "", taken),
        "관청": _invent_words(rng, POOL, 2, "청", taken),
        "법령": _invent_words(rng, POOL, 2, "령", taken),
        "자격": _invent_words(rng, POOL, 2, "사", taken),
        "특산물": list(_GOODS),
        "상징색": list(_COLOURS),
        "축제": _invent_words(rng, POOL, 2, "제", taken),
        "재료": list(_STUFFS),
    }
    facts = {
        (village, attribute): rng.choice(pool) for attribute, pool in pools.items() for village in villages
    }
    return World(
        tuple(villages),
        tuple(visitors),
        {attribute: tuple(pool) for attribute, pool in pools.items()},
        facts,
    )
