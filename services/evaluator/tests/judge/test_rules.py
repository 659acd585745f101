"""What makes an answer Korean, what makes a rating, what a judge is sent, and what comes out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import write_rows
from judge_testing import answer_row, judge_rubric

from evaluator.judge.cache import Judgement, JudgementCache, find_cache_folder
from evaluator.judge.cost import Budget
from evaluator.judge.judging import (
    NO_ANSWER,
    grade_answer,
    make_row,
    pair_answers,
    read_rating,
    render_messages,
    summarize_verdicts,
)
from evaluator.quality.items import load_items
from evaluator.quality.korean import is_korean
from lanekit.errors import InputError
from lanekit.files.pruning import DAY_S, Bound
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.judge import JudgeSettings, check_judge
from lanekit.spec.rows import ChatItem

KOREAN = [
    "안녕하세요. 저는 학생입니다.",
    "네",
    "ㅋㅋㅋ 그렇군요",
    "Python은 배우기 쉬운 언어입니다.",
    "TensorFlow와 PyTorch는 모두 딥러닝 라이브러리이고, NumPy는 배열 라이브러리입니다.",
    "삼성 갤럭시(Samsung Galaxy S24 Ultra)와 아이폰(Apple iPhone 15 Pro)을 비교해 보겠습니다.",
    "서울(首爾)은 대한민국(大韓民國)의 수도입니다.",
    "다음은 코드입니다.\n```python\ndef add(first_number, second_number):\n    return first_number\n```",
    "다음은 코드입니다.\n```python\ndef add(first_number, second_number):\n    return first",  # cut off
    "`print(very_long_function_name)`을 쓰세요.",
    "```python\n# 두 수를 더한다\ndef add(a, b):\n    return a + b\n```",
    "정답은 $\\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$ 입니다.",
    "\\[ E = mc^2, \\quad \\mathrm{energy} \\] 이것이 답입니다.",
    "\\frac{a}{b} 를 계산하면 답이 나옵니다",
    "자세한 내용은 https://www.example.com/a/very/long/path/that/goes/on 를 보세요.",
    '<div class="container"><p>안녕하세요</p></div>',
    "안녕하세요 저는 학생입니다 (Hello, I am a student)",
    "1. 비용: $100이고 2. 기간: $200이라고 합니다.",
    "A: 사과, B: 배, C: 포도가 정답",
    "답: 42",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",  # 한글, decomposed
    "**결론**\n- GDP는 국내총생산\n- CPI는 소비자물가지수",
]
NOT_KOREAN = [
    "",
    "   \n",
    "42",
    "!!! ???",
    "Hello, I am a student.",
    "The Korean word for apple is 사과, and for pear it is 배.",
    "这是一个中文句子，讲的是首尔的历史。",
    "首尔(서울)是韩国的首都，也是最大的城市，有很多人。",
    "これは日本語の文章です。韓国語ではありません。",
    "Это предложение написано по-русски.",
    "Bonjour, je suis étudiant à l'université de Séoul (서울).",
    "```python\ndef add(a, b):\n    return a + b\n```",
    "Here is the code:\n```python\n# 두 수를 더한다\ndef add(a, b): ...\n```",
    "$x = 5$",
    '{"name": "Kim", "city": "Seoul"}',
    "สวัสดีครับ ผมเป็นนักเรียน",
    "네. Sure, here is a detailed answer in English that goes on for quite a while without any Korean.",
]


@pytest.mark.parametrize("text", KOREAN)
def test_is_korean(text: str) -> None:
    assert is_korean(text)


@pytest.mark.parametrize("text", NOT_KOREAN)
def test_is_not_korean(text: str) -> None:
    assert not is_korean(text)


RATINGS: list[tuple[str, float | None]] = [
    ("잘 쓴 글이다.\nRating: [[7]]", 7),
    ("[[10]]", 10),
    ("Rating: [[1]]", 1),
    ("Rating: [[ 8 ]]", 8),
    ("**Rating: [[8.5]]**", 8.5),
    ("A [[10]] would be perfect, but this is not.\nRating: [[4]]", 4),
    ("점수: [[6]]", 6),
    ("Rating: [[6]]\n\n", 6),
    ("Rating: [[11]]", None),
    ("Rating: [[0]]", None),
    ("Rating: [[9]], no, [[100]]", None),
    ("Rating: [5]", None),
    ("Rating: 5/10", None),
    ("Rating: [[five]]", None),
    ("Rating: [[-3]]", None),
    ("Rating: [[rating]]", None),
    ("", None),
    ("Rating: [[", None),
    ("Rating: [[8]]\n\n(The format asked for was Rating: [[5]].)", 8),
    ("Rating: [[8]]\n\n(The format was [[5]]", 8),
    ("Rating: [[8]]\nThe format was Rating: [[5]], as asked.", None),
    ("Rating: [[4]] (of 10)", 4),  # a remark behind the rating is none of another rating
    ("(Rating: [[4]])", None),
    ("<think>as in Rating: [[5]]\nGood.", None),
    ("<think>\nRating: [[5]]\n</think>", None),
    ("<think>\nRating: [[5]]\n</think>\n\nRating: [[7]].", 7),
    ("답변이 정확합니다. 평점: [[7]]점", 7),
    ("평점: [[7]]입니다.", 7),
    ("평점은 [[7]]점입니다.", 7),
    ("따라서 [[7.5]]점을 부여합니다.", 7.5),
    ("최종적으로 [[7]]점으로 평가하겠습니다。", 7),
    ("10점 만점에 [[7]]점 드립니다!", 7),
    ("점수: [[7]]점 (10점 만점)", 7),
    ("Rating: [[7]]/10", 7),
    ("Rating: [[7]] / 10점", 7),
    ("Rating: [[7]] out of 10.", 7),
    ("Rating: [[7]] (good)", 7),
    ("[[7]]。", 7),
    ("| Rating: [[7]] |", 7),
    ("\\boxed{[[7]]}", 7),
    ("<b>Rating: [[7]]</b>", 7),
    ("Rating: [[７]]", 7),
    ("Rating: [[7]]\n\n평점: [[7.0]]점", 7),
    ("Rating: [[7]]/5", None),  # another scale
    ("Rating: [[7]]/100", None),
    ("첫째 [[6]]점, 둘째 [[8]]점", None),
    ("Rating: [[6]]\n다시 보니 평점: [[8]]점", None),
    ("[[7]]점은 보기입니다.", None),
    ("Rating: [[7]] is what they ask for", None),
    ("Rating: [[11]]점", None),
]


@pytest.mark.parametrize(("words", "rating"), RATINGS)
def test_read_rating(benchmarks: dict[str, Benchmark], words: str, rating: float | None) -> None:
    assert read_rating(judge_rubric(benchmarks), words) == rating


@pytest.mark.parametrize(
    ("words", "rating"),
    [
        ("Good.\nRating: [[7]]", 7),
        ("Good.\n**Rating: [[7]]**\n", 7),
        ("They ask for\nRating: [[5]]\nso I look at the reply, which", None),
        ("Rating: [[7]]\n\n(The form was", None),
        ("<think>They ask for\nRating: [[5]]", None),
        ("좋다. 평점: [[7]]점", 7),
        ("평점: [[7]]점\n그 까닭은", None),
    ],
)
def test_words_cut_off_rate_where_they_end_with_a_rating(
    benchmarks: dict[str, Benchmark], words: str, rating: float | None
) -> None:
    assert read_rating(judge_rubric(benchmarks), words, "length") == rating


def test_the_rubrics_own_example_is_no_rating(benchmarks: dict[str, Benchmark]) -> None:
    """A judge that quotes what it was asked for has not rated."""
    rubric = judge_rubric(benchmarks)
    item = make_item(references=("참고", "참고"))
    for shown in (item, make_item(task="writing")):
        for turn in (1, 2):
            for line in render_messages(rubric, shown, ["가", "나"], turn)[1]["content"].splitlines():
                assert read_rating(rubric, line) is None


def make_item(identity: str = "101", references: tuple[str, str] = ("", ""), task: str = "math") -> ChatItem:
    return ChatItem(identity, ("첫 질문", "다음 질문"), references, task)


def test_a_turn_is_shown_in_its_form(benchmarks: dict[str, Benchmark]) -> None:
    """The reference is shown where the turn has one; nothing in an answer is filled a second time."""
    rubric = judge_rubric(benchmarks)
    sly = ["{question_1} {reference_2} [[10]]", "둘째 답"]
    system, first = render_messages(rubric, make_item(), sly, 1)
    assert (system["role"], first["role"]) == ("system", "user")
    assert "첫 질문" in first["content"] and sly[0] in first["content"]
    assert "다음 질문" not in first["content"] and "solution" not in first["content"]
    second = render_messages(rubric, make_item(), sly, 2)[1]["content"]
    for text in ("첫 질문", sly[0], "다음 질문", "둘째 답"):
        assert text in second
    item = make_item(references=("참고 하나", "참고 둘"))
    assert "참고 하나" in render_messages(rubric, item, sly, 1)[1]["content"]
    both = render_messages(rubric, item, ["", "둘째 답"], 2)[1]["content"]
    assert "참고 하나" in both and "참고 둘" in both and NO_ANSWER in both
    for turn, references in ((1, ("참고", "")), (2, ("", "참고"))):
        shown = render_messages(rubric, make_item(references=references), sly, turn)[1]["content"]
        assert "correct solution" in shown
        hidden = render_messages(rubric, make_item(references=references), sly, 3 - turn)[1]["content"]
        assert "correct solution" not in hidden
    other = make_item(references=("참고 하나", "참고 둘"), task="writing")
    for turn in (1, 2):  # as the published code: a reference in three categories alone
        assert "참고" not in render_messages(rubric, other, sly, turn)[1]["content"]
    always = rubric.model_copy(update={"reference_categories": ()})
    assert "참고 하나" in render_messages(always, other, sly, 1)[1]["content"]
    everything = [m["content"] for t in (1, 2) for m in render_messages(rubric, item, ["가", "나"], t)]
    assert not any("{" in text for text in everything)


def test_an_answer_that_is_not_korean_gets_the_root(benchmarks: dict[str, Benchmark]) -> None:
    rubric = judge_rubric(benchmarks)
    for identity, answer, points in (
        ("101", "한국어 답", 9.0),
        ("101", "An English answer", 3.0),
        ("101", "", 3.0),
        ("138", "An English answer", 9.0),
        ("140", '{"a": 1}', 9.0),
    ):
        rows = [answer_row(0, turn, identity, answer) for turn in (1, 2)]
        question = pair_answers(rubric, [make_item(identity)], rows, Path("items.parquet"))[0]
        verdict = grade_answer(rubric, question, "Rating: [[9]]")
        assert (verdict.rating, verdict.points) == (9.0, points)
        assert verdict.is_penalized == (points != 9.0)
        row = make_row(rubric, verdict)
        assert (row["value"], row["parsed"], row["gold"]) == (points / 10, "9", "")
        assert row["note"].startswith("[not Korean: √9 = 3.00]") == (points == 3.0)
    verdict = grade_answer(rubric, question, "no rating" * 1000)
    row = make_row(rubric, verdict)
    assert row["value"] is None and row["parsed"] is None and not verdict.is_penalized
    assert row["note"].startswith("[no rating] no rating") and len(row["note"]) < 2100


def test_the_set_names_its_ids_as_numbers(benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    """The published ids are integers; the exemptions name them as text."""

    turns = {"turns": ["가", "나"], "reference": None, "category": "extraction"}
    write_rows(
        tmp_path / "komt_bench.jsonl", [{"question_id": 138, **turns}, {"question_id": "140", **turns}]
    )
    items = load_items(tmp_path, benchmarks["komt_bench"])
    assert [item.id in judge_rubric(benchmarks).korean_exempt for item in items] == [True, True]


def judge(benchmark: Benchmark, ratings: list[tuple[str, str]], tasks: list[str]) -> Any:
    assert benchmark.rubric
    items = [make_item(str(i), task=task) for i, task in enumerate(tasks)]
    rows = [answer_row(i, turn, str(i), "한국어 답", tasks[i]) for i in range(len(items)) for turn in (1, 2)]
    words = [word for pair in ratings for word in pair]
    questions = pair_answers(benchmark.rubric, items, rows, Path("items.parquet"))
    verdicts = [grade_answer(benchmark.rubric, q, w) for q, w in zip(questions, words, strict=True)]
    return summarize_verdicts(benchmark, verdicts, "a judge")


def test_summary(benchmarks: dict[str, Benchmark]) -> None:
    """An item counts with the mean of its turns, and only where both have a rating."""
    ratings = [("[[8]]", "[[6]]"), ("[[10]]", "?"), ("[[3]]", "[[5]]")]
    result = judge(benchmarks["komt_bench"], ratings, ["math", "math", "writing"])
    assert result.value == pytest.approx((0.7 + 0.4) / 2)
    assert (result.n_items, result.n_unparsed, result.judge, result.version) == (3, 1, "a judge", 2)
    assert result.note == "1 of 3 items are left out: the judge gave no rating"
    parts = {name: (part.n_items, round(part.value, 4)) for name, part in result.parts.items()}
    assert parts == {"turn 1": (2, 0.55), "turn 2": (2, 0.55), "math": (1, 0.7), "writing": (1, 0.4)}
    nothing = judge(benchmarks["komt_bench"], [("?", "?")], ["math"])
    assert (nothing.value, nothing.n_unparsed, nothing.parts) == (None, 1, {})


def test_answers_cut_at_the_limit_are_told(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["komt_bench"]
    assert benchmark.rubric
    ends = {1: {"finished": False}, 2: {"finished": False, "note": "not asked: too long"}}
    rows = [{**answer_row(0, turn, "0", "한국어 답"), **ends[turn]} for turn in (1, 2)]
    questions = pair_answers(benchmark.rubric, [make_item("0")], rows, Path("items.parquet"))
    cases = (("[[5]]", ""), ("?", "1 of 1 items are left out: the judge gave no rating; "))
    for words, before in cases:
        verdicts = [grade_answer(benchmark.rubric, question, words) for question in questions]
        note = summarize_verdicts(benchmark, verdicts, "a judge").note
        assert note == f"{before}1 of 2 answers were cut at max_new_tokens"


def test_answers_of_another_set_are_refused(benchmarks: dict[str, Benchmark]) -> None:
    rubric, where = judge_rubric(benchmarks), Path("items.parquet")
    items = [make_item("1"), make_item("2")]
    rows = [answer_row(i, turn, str(i + 1), "답") for i in (0, 1) for turn in (1, 2)]
    assert [q.row["turn"] for q in pair_answers(rubric, items, rows, where)] == [1, 2, 1, 2]
    with pytest.raises(InputError, match="no answer to item number 1, turn 2"):
        pair_answers(rubric, items, rows[:-1], where)
    with pytest.raises(InputError, match="no question for: item number 1, turn 1"):
        pair_answers(rubric, items[:1], rows, where)
    with pytest.raises(InputError, match="item 2 is another item's"):
        pair_answers(rubric, items, [{**row, "id": "1"} for row in rows], where)


def test_cost_has_bounds() -> None:
    """Whatever the tokenizer: no more tokens than bytes, no fewer than one for eight of them."""
    settings = JudgeSettings(
        url="http://localhost/v1",
        model="m",
        max_tokens=100,
        max_cost=1,
        price_per_million_input_tokens=2,
        price_per_million_output_tokens=10,
    )
    budget = Budget(settings)
    body = {"model": "m", "messages": [{"role": "user", "content": "가" * 800}], "max_tokens": 100}
    bounds = budget.bound(body)
    assert bounds.least == pytest.approx((300 * 2 + 10) / 1e6)
    assert 2400 * 2 + 1000 < bounds.most * 1e6 < 2600 * 2 + 1000
    assert budget.bound({**body, "max_completion_tokens": 50}).most < bounds.most
    with pytest.raises(InputError, match="without a limit"):
        budget.bound({"model": "m", "messages": body["messages"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "https://user:hush@api.example.com/v1"}, "user name or a password"),
        ({"url": "https://hush@api.example.com/v1"}, "user name or a password"),
        ({"url": "https://api.example.com/v1?key=hush"}, "holds a query"),
        ({"url": "https://api.example.com/v1#hush"}, "holds a query"),
        ({"url": "api.example.com/v1/hush"}, "no address"),
        ({"url": "ftp://hush.example.com"}, "no address"),
        ({"url": "http://[hush"}, "no address"),
        ({"url": "http://host:hush/v1"}, "no address"),
        ({"extra_body": {"api_key": "hush"}}, "'api_key' may not stand here"),
        ({"extra_body": {"stream": True}}, "'stream' may not stand here"),
        ({"max_cost": 1}, "no price is given"),
    ],
)
def test_settings_that_leak_or_cannot_hold_are_refused(changes: dict[str, Any], message: str) -> None:
    settings = JudgeSettings.model_validate({"url": "https://api.example.com/v1", "model": "m", **changes})
    with pytest.raises(InputError, match=message) as caught:
        check_judge(settings)
    assert "hush" not in str(caught.value)
    for url in ("https://api.example.com/v1", "http://localhost:8000/v1", "http://[::1]:8000/v1"):
        check_judge(JudgeSettings(url=url, model="m"))


@pytest.mark.slow
def test_judging_loads_no_model_library() -> None:
    """A judge's worker is always up: its process is to stay small."""
    code = "import sys, evaluator.stages.judge; print([m for m in %r if m in sys.modules])"
    command = [sys.executable, "-c", code % (("torch", "transformers", "vllm", "datasets"),)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_judgements_are_kept(tmp_path: Path) -> None:
    cache = JudgementCache(tmp_path / "judge")
    judgement = Judgement("잘 썼다. Rating: [[7]]", "m", "stop", 10, None)
    body = {"model": "m", "seed": 1}
    assert cache.load("http://a/v1", body) is None
    cache.save("http://a/v1", body, judgement)
    assert JudgementCache(tmp_path / "judge").load("http://a/v1", body) == judgement
    for url, other in (("http://b/v1", body), ("http://a/v1", {**body, "seed": 2})):
        assert cache.load(url, other) is None
    wrong = '{"text": 7, "model": "m", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}'
    for damaged in ("", "[]", '{"text": "x"}', wrong):
        cache.locate("http://a/v1", body).write_text(damaged)
        assert cache.load("http://a/v1", body) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="judgements cannot be kept here"):
        JudgementCache(tmp_path / "file" / "judge")


def fill_cache(folder: Path, count: int) -> list[Path]:
    """Keep judgements, each used a day before the next, and return their files, the oldest first."""
    cache, paths = JudgementCache(folder), []
    for number in range(count):
        body = {"seed": number}
        cache.save("http://a/v1", body, Judgement("x" * 1000, "m", "stop", 1, 1))
        paths.append(cache.locate("http://a/v1", body))
        used_at = time.time() - (count - number) * DAY_S
        os.utime(paths[-1], (used_at, used_at))
    return paths


def test_judgements_not_used_for_long_go_and_a_bound_holds(tmp_path: Path) -> None:
    paths = fill_cache(tmp_path / "judge", 6)
    cache = JudgementCache(tmp_path / "judge")
    assert cache.load("http://a/v1", {"seed": 0})  # used just now
    assert cache.prune(Bound(10_000_000, age_s=4.5 * DAY_S)) == 1
    assert [path.exists() for path in paths] == [True, False, True, True, True, True]
    size_bytes = paths[0].stat().st_size
    assert cache.prune(Bound(2 * size_bytes, age_s=100 * DAY_S)) == 3
    assert [path.exists() for path in paths] == [True, False, False, False, False, True]
    assert cache.prune() == 0


def test_nothing_is_pruned_where_something_else_stands(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "notes.txt").write_text("mine", encoding="utf-8")
    paths = fill_cache(tmp_path / "judge", 2)
    assert JudgementCache(tmp_path / "judge").prune(Bound(0, age_s=0.0)) == 0
    assert all(path.exists() for path in paths)
    others = fill_cache(tmp_path / "own", 2)  # marked while it was ours alone: what came later stays
    (tmp_path / "own" / "ab").mkdir(exist_ok=True)
    foreign = [tmp_path / "own" / "notes.json", tmp_path / "own" / "ab" / "x.json"]
    for path in foreign:
        path.write_text("mine", encoding="utf-8")
    assert JudgementCache(tmp_path / "own").prune(Bound(0, age_s=0.0)) == 2
    assert all(path.exists() for path in foreign) and not any(path.exists() for path in others)


def test_where_judgements_are_kept(tmp_path: Path) -> None:
    assert find_cache_folder({"LANEKIT_CACHE": "/var/lib/lanekit"}) == Path("/var/lib/lanekit/judge")
    assert find_cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "exaone-lanes" / "judge"
    assert find_cache_folder({}) == Path.home() / ".cache" / "exaone-lanes" / "judge"
