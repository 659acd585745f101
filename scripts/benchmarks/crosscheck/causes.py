"""Why two tools made something else of one item: rules of this module's own, and ties of two logits."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from benchmarks.crosscheck.harness import Answer

MAX_TIE = 1e-3  # of a logit, float32: two sums of the same numbers in another order differ by less
PLAIN_STATEMENT = r"정답:\s*[A-E]"  # the form that both must read
PARTICLES = "입니다|이다|이에요|예요|은|는|이|가|을|를|의|에서|에게|에|으로|로|와|과|도|만|까지|부터"


def explain_answer(ours: Answer, theirs: Answer) -> str:
    """Return why a letter was read in a reply by one of them alone, "" where no rule of our parser says so.

    The harness's regular expression knows one form, "정답: A", and takes the last; ours knows others and is
    stricter with what follows. The rules are written anew here, so that no fault of either explains itself.
    """
    if not theirs.n_options:
        return ""
    stated = list(re.finditer(PLAIN_STATEMENT, ours.reply))
    if ours.parsed is None and theirs.parsed is not None and stated:
        if theirs.parsed not in "ABCDE"[: theirs.n_options]:
            return "the item has no such option"
        if re.match(r"[^\S\n]*\w", ours.reply[stated[-1].end() :]):
            return "the statement runs on behind the letter"
        if re.search(r"\w$", ours.reply[: stated[-1].start()]):
            return "the statement begins within another word"
    if ours.parsed is not None and theirs.parsed is None and not stated:
        first = ours.reply.strip().split("\n", 1)[0]
        if re.fullmatch(rf"\W*{ours.parsed}\W*", first):
            return "a letter alone, which the regular expression does not know"
        if re.search(rf"(?:정답|답|[Aa]nswer)\W*(?:은|는|이|is)?\W*{ours.parsed}(?![A-Za-z])", ours.reply):
            return "a statement in a form that the regular expression does not know"
    return ""


def explain_verdict(ours: Answer) -> str:
    """Return why one exact match alone takes a free reply for the gold answer, "" where no rule says so.

    The harness drops white space, case and ASCII punctuation; ours keeps what tells answers apart ("-5",
    "1/2", "50%", "1 2"), further drops particles and copulas at the ends of words, unifies forms of letters
    (NFKC) and takes one refusal for another.
    """
    if ours.n_options:
        return ""
    if not ours.correct:
        kept = [_keep_telling_marks(text) for text in (ours.reply, ours.gold)]
        is_excused = _drop_marks(ours.reply) == _drop_marks(ours.gold) and kept[0] != kept[1]
        return "a mark that tells answers apart" if is_excused else ""
    said, gold = (_drop_marks(text) for text in (ours.reply, ours.gold))
    if said == gold:
        return "forms of letters or punctuation beyond ASCII"
    if all(re.search(r"수\s*(?:가|는)?\s*없|없음|없습니다", text) for text in (ours.reply, ours.gold)):
        return "both say that there is no answer"
    ends = re.compile(rf"(?<=\w\w)(?:{PARTICLES})+(?=\s|$)")
    said, gold = (re.sub(r"\s", "", ends.sub("", _drop_marks(t, " "))) for t in (ours.reply, ours.gold))
    return "particles or copulas" if said == gold else ""


def _drop_marks(text: str, kept: str = "") -> str:
    """Return letters and digits alone, in one form and case, and the characters of `kept`."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if c.isalnum() else kept if c.isspace() else "" for c in text)


def _keep_telling_marks(text: str) -> list[str]:
    """Return the marks that tell answers apart, with the digit behind them, and gaps between digits."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.findall(r"[-/:.,~]\s*\d|[%#&]|(?<=\d)\s+(?=\d)", text)


class TieFinder:
    """Tells whether two greedy replies part at a tie: two tokens whose logits differ by less than MAX_TIE.

    The model runs once more for it, alone and unpadded; loaded when first asked.
    """

    def __init__(self, model: Path) -> None:
        self.folder = model
        self.loaded: tuple[Any, Any] | None = None

    def explain(self, ours: Answer, theirs: Answer) -> str:
        """Return the cause of two replies to one prompt, "" where it is no tie."""
        import torch

        model, tokenizer = self._load()
        replies = [
            [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            for reply in (ours.reply, theirs.reply)
        ]
        pairs = list(zip(*replies, strict=False))
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if at is None:
            return ""
        with torch.inference_mode():
            ids = torch.tensor([[*ours.token_ids, *replies[0][:at]]])
            logits = model(input_ids=ids).logits[0, -1].float()
        two = [float(logits[token]) for token in pairs[at]]
        gap = max(float(logits.max()) - min(two), abs(two[0] - two[1]))
        return f"a tie: at token {at} the two best logits differ by {gap:.1e}" if gap < MAX_TIE else ""

    def _load(self) -> tuple[Any, Any]:
        if self.loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            model = AutoModelForCausalLM.from_pretrained(
                str(self.folder), dtype=torch.float32, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True)
            self.loaded = model.eval(), tokenizer
        return self.loaded
