"""The guard: what is found, what is not, and what the corpus stage does about it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.files.conversations import read_json_lines
from lanekit.progress import ignore_progress
from lanekit.spec.params import PrepareCorpusParams
from lanekit.spec.rows import parse_row
from trainer.data.benchmark_texts import ItemText, list_texts, read_item_texts, split_words
from trainer.data.contamination import Guard, Match, count_items
from trainer.stages import prepare_corpus

WORDS = [f"낱말{i}" for i in range(400)]
QUESTION = "다음 중 헌법재판소의 권한쟁의심판에 관한 설명으로 옳은 것은?"
OPTIONS = [
    "국회의원은 청구할 수 없다",
    "지방자치단체는 당사자가 된다",
    "재판관 5인이 찬성한다",
    "기속력이 없다",
]
CHOICE = {"question": QUESTION, "options": OPTIONS, "solution": "2"}
DOCUMENT = {
    "id": "d7", "titles": "제목", "context": " ".join(WORDS[:300]), "task": "t", "answer": "답",
    "question": "이 마을에서 가장 오래된 다리의 이름은 무엇이라고 하는가?", "prompt": "{context} {question}",
}  # fmt: skip
CHAT = {
    "question_id": 3,
    "turns": ["제주도에 다녀온 여행기를 블로그 글로 재미있게 써 주세요.", "더 짧게 써 줘."],
    "category": "writing",
    "reference": [None, "제주도는 바람이 많고 돌이 많고 여자가 많은 섬이라고 한다."],
}


def make_guard(*rows: tuple[str, dict[str, Any]], ngram_words: int = 13) -> Guard:
    items = [(name, parse_row(name, row, f"suite:{i}")) for i, (name, row) in enumerate(rows)]
    texts = [text for name, item in items for text in list_texts(name, item)]
    return Guard(texts, ngram_words)


def find_in(guard: Guard, *contents: str) -> list[Match]:
    return guard.find([[{"role": "user", "content": content} for content in contents]])


def test_words_are_compared_without_case_width_punctuation_or_option_marks() -> None:
    assert split_words("Ａ사는 「가」를 (나)라 한다.") == ["a사는", "가", "를", "나", "라", "한다"]
    lettered, numbered = "A. 하나\nB) 둘\n(C) 셋", "1. 하나\n2) 둘\n③ 셋"
    assert split_words(lettered) == split_words(numbered) == split_words("하나 둘 셋")
    assert split_words("1.5배") == ["1", "5배"]


@pytest.mark.parametrize(
    "message",
    [
        "풀어 줘.\n{}\nA. {}\nB. {}\nC. {}\nD. {}\n정답은?".format(QUESTION, *OPTIONS),
        f"{QUESTION} ① {OPTIONS[0]} ② {OPTIONS[1]} ③ {OPTIONS[2]} ④ {OPTIONS[3]}",
        f"{QUESTION}\n" + "\n".join(f"{i}) {text}." for i, text in enumerate(OPTIONS, 1)),
        f"\u1112\u1165\u11ab {QUESTION} {' / '.join(OPTIONS)}",
    ],
    ids=["lettered", "circled", "numbered", "slashes"],
)
def test_a_choice_item_is_found_however_its_options_are_marked(message: str) -> None:
    guard = make_guard(("kmmlu_pro", CHOICE))
    assert [(m.benchmark, m.item) for m in find_in(guard, "안녕", message)] == [("kmmlu_pro", "0")]


def test_a_stock_question_with_other_options_is_no_item() -> None:
    guard = make_guard(("kmmlu_pro", CHOICE))
    assert not find_in(guard, f"{QUESTION}\nA. 하나\nB. 둘\nC. 셋\nD. 넷")


def test_a_piece_of_a_document_is_found_from_thirteen_words_on() -> None:
    guard = make_guard(("ko_longrag", DOCUMENT))
    found = find_in(guard, "머리말 " + " ".join(WORDS[100:113]) + " 꼬리말")
    assert found == [Match("ko_longrag", "d7", 0, "words", " ".join(WORDS[100:113]))]
    assert not find_in(guard, " ".join(WORDS[100:112]))
    assert not find_in(guard, " ".join(WORDS[100:107]), " ".join(WORDS[107:114])), "messages are apart"
    assert not find_in(guard, " ".join([*WORDS[100:107], "다른", *WORDS[107:114]]))


def test_the_question_of_a_document_is_found_alone() -> None:
    guard = make_guard(("ko_longrag", DOCUMENT))
    assert find_in(guard, f"질문: {DOCUMENT['question']} 알려 줘.")[0].item == "d7"


def test_turns_and_references_of_a_chat_are_found() -> None:
    guard = make_guard(("komt_bench", CHAT))
    assert find_in(guard, CHAT["turns"][0])
    assert find_in(guard, "물음", f"네. {CHAT['reference'][1]} 끝.")
    assert not find_in(guard, "더 짧게 써 줘."), "a follow-up that anyone may write"


def test_a_whole_message_is_found_whatever_its_spacing() -> None:
    guard = make_guard(("komt_bench", CHAT))
    spaced = CHAT["turns"][0].replace(" ", "")
    assert [m.kind for m in find_in(guard, spaced)] == ["letters"]


def test_an_item_too_short_to_prove_anything_is_named_and_found_only_whole() -> None:
    short = {"question": "수도는?", "options": ["가", "나", "다", "라"], "solution": "1"}
    guard = make_guard(("kmmlu_pro", CHOICE), ("kmmlu_pro", short))
    assert guard.unchecked == {"kmmlu_pro": ["1"]}
    assert not find_in(guard, "문제: 수도는? 가 나 다 라 중에서")
    assert [m.item for m in find_in(guard, "수도는?\nA. 가\nB. 나\nC. 다\nD. 라")] == ["1"]


def test_windows_of_bare_marks_are_no_evidence() -> None:
    marks = "ㄱ ㄴ ㄱ ㄷ ㄴ ㄷ ㄱ ㄴ ㄷ ㄹ ㄱ ㄹ ㄴ ㄹ"
    options = ["ㄱ", "ㄴ", "ㄷ", "ㄹ"]
    row = {"question": f"옳은 것만을 모두 고른 것은 {marks}", "options": options, "solution": "1"}
    assert not find_in(make_guard(("kmmlu_redux", row)), f"나의 물음 {marks}")


@pytest.mark.parametrize("ngram_words", [6, 13])
def test_the_guard_agrees_with_a_plain_search(ngram_words: int) -> None:
    rng = random.Random(3)
    small = [f"낱말들{i}" for i in range(6)]
    texts = [
        ItemText("kmmlu_pro", str(i), " ".join(rng.choices(small, k=rng.randint(5, 40)))) for i in range(60)
    ]
    talks = [
        [{"role": "user", "content": " ".join(rng.choices(small, k=rng.randint(1, 60)))} for _ in range(2)]
        for _ in range(150)
    ]
    for talk in talks[::2]:  # a piece of an item
        words = texts[rng.randrange(60)].text.split()
        start = rng.randrange(len(words) // 2)
        talk[1]["content"] += " " + " ".join(words[start : start + rng.randint(4, 30)])

    def holds(message: str, text: str) -> bool:
        words, length = text.split(), min(ngram_words, len(text.split()))
        windows = (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
        return (
            any(len(w.replace(" ", "")) >= 20 and f" {w} " in f" {message} " for w in windows)
            or text == message
        )

    expected = {
        (row, text.item)
        for row, talk in enumerate(talks)
        for text in texts
        if len(text.text.replace(" ", "")) >= 20 and any(holds(m["content"], text.text) for m in talk)
    }
    found = {(m.row, m.item) for m in Guard(texts, ngram_words).find(talks)}
    assert found == expected
    assert 10 < len(expected) < 150 * 60


def test_items_are_counted_once_each() -> None:
    matches = [
        Match("a", "1", 0, "words", ""),
        Match("a", "1", 5, "words", ""),
        Match("a", "2", 5, "words", ""),
    ]
    assert count_items(matches, ["a", "b"]) == {"a": 2, "b": 0}


def test_the_synthetic_corpus_holds_no_benchmark_item(data_folder: Path) -> None:
    guard = Guard(read_item_texts(data_folder))
    assert guard.n_items == {"kmmlu_pro": 120, "kmmlu_redux": 120, "ko_longrag": 60, "komt_bench": 8}
    assert not any(guard.unchecked.values())
    talks = [row["conversations"] for _, row in read_json_lines(data_folder / "manta.jsonl")]
    assert not guard.find(talks)


@pytest.fixture
def planted(tmp_path: Path, data_folder: Path) -> Path:
    """A small corpus of which rows 2 and 5 hold a benchmark item each."""
    rows = [row for _, row in read_json_lines(data_folder / "manta.jsonl")][:40]
    choice = next(row for _, row in read_json_lines(data_folder / "kmmlu_pro.jsonl"))
    document = next(row for _, row in read_json_lines(data_folder / "ko_longrag.jsonl"))
    rows[1]["conversations"][-1]["content"] = f"{choice['question']} {' '.join(choice['options'])}"
    rows[4]["conversations"][-1]["content"] = document["context"]
    path = tmp_path / "planted.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def prepare(path: Path, model: Path, suite: Path, policy: str, **sizes: int) -> dict[str, Any]:
    sizes = {"train_rows": 30, "validation_rows": 8, "calibration_rows": 30, **sizes}
    spec = PrepareCorpusParams.model_validate(
        {"corpus": {"source": str(path)}, "contamination": policy, **sizes}
    )
    out = path.parent / policy
    out.mkdir()
    prepare_corpus.run(spec, {"model": model, "suite": suite}, out, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def test_an_overlap_is_refused_with_item_row_words_and_a_way_out(
    planted: Path, tiny_model: Path, data_folder: Path
) -> None:
    with pytest.raises(InputError) as caught:
        prepare(planted, tiny_model, data_folder, "refuse", train_rows=32)
    message = str(caught.value)
    assert (
        "2 of 40 rows drawn hold benchmark text (kmmlu_pro 1 of 120 items, ko_longrag 1 of 60 items)"
        in message
    )
    assert "kmmlu_pro item 1 in row 2: 루무니 마을의" in message
    assert "ko_longrag item synthetic-ko_longrag-000 in row 5: " in message
    assert "corpus.contamination to 'drop'" in message
    assert "'label'" in message


def test_dropped_rows_are_replaced_and_counted(planted: Path, tiny_model: Path, data_folder: Path) -> None:
    report = prepare(planted, tiny_model, data_folder, "drop", calibration_rows=8)
    assert (report["train_rows"], report["validation_rows"], report["dropped"]) == (30, 8, 2)
    assert not any(sum(part.values()) for part in report["contamination"].values())
    kept = [
        row
        for part in ("train", "validation")
        for _, row in read_json_lines(planted.parent / "drop" / f"{part}.jsonl")
    ]
    assert not {2, 5} & {row["row"] for row in kept}
    assert len({row["row"] for row in kept}) == 38


def test_labelled_rows_are_kept_and_counted_by_part(
    planted: Path, tiny_model: Path, data_folder: Path
) -> None:
    report = prepare(planted, tiny_model, data_folder, "label", train_rows=32, calibration_rows=8)
    out = planted.parent / "label"
    parts = {
        name: {row["row"] for _, row in read_json_lines(out / f"{name}.jsonl")}
        for name in ("train", "validation", "calibration")
    }
    planted_items = {2: "kmmlu_pro", 5: "ko_longrag"}
    for name, rows in parts.items():
        expected = {benchmark for row, benchmark in planted_items.items() if row in rows}
        assert {b for b, count in report["contamination"][name].items() if count} == expected
    written = json.loads((out / "contamination.json").read_text(encoding="utf-8"))
    assert {(m["benchmark"], m["row"]) for m in written["matches"]} == {("kmmlu_pro", 2), ("ko_longrag", 5)}
    assert all(m["part"] in parts and m["excerpt"] for m in written["matches"])
