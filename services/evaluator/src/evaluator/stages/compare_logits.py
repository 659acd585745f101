"""Stage `compare_logits`: the screen, how far a model's next-token distributions lie from the base model's.

It takes a tenth of the evaluation's time and tells schemes apart that some hundred benchmark items rank as
noise. It is never the score, and says little of a lane that is meant to move away from the base (SFT,
distillation). It is read on the answers of the corpus's held-out conversations; the definitions stand in
`evaluator.screen.divergence`.

It runs on transformers, for every format that compressed-tensors reads: vLLM's API hands out
log-probabilities of the whole vocabulary as Python objects, token by token, which takes longer than the
evaluation that it is to spare. What an engine adds is not seen: its kernels' rounding, an FP8 KV cache.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from evaluator.screen.divergence import TokenScores, compare_logits, summarize_scores
from evaluator.screen.sources import LogitSource, TransformersLogits
from evaluator.screen.texts import Sequence, choose_sequences, describe_shortage, plan_batches
from lanekit.files.model_folder import write_json, write_report
from lanekit.host.probe import list_versions
from lanekit.progress import Progress
from lanekit.results.collect import METRICS_NAME
from lanekit.spec.screen import CompareLogitsParams

SEQUENCES_NAME = "sequences.jsonl"


def run(spec: CompareLogitsParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Hold `inputs["model"]` against `inputs["base"]` on `inputs["corpus"]`.

    Writes metrics.json, sequences.jsonl (the scores of each token, a conversation a line) and report.json.
    Where both are one folder it is loaded once, and the KL is 0.

    Raises:
        InputError: a model cannot be loaded, the vocabularies differ, no conversation fits, or logits are not
            finite.
    """
    started = time.perf_counter()
    model, base = inputs["model"], inputs["base"]
    folders = [base] if model.samefile(base) else [base, model]
    sources: list[LogitSource] = []
    try:
        for number, folder in enumerate(folders, start=1):
            progress(0, 0, f"loading model {number} of {len(folders)}")
            sources.append(TransformersLogits(folder, spec))
        load_seconds = time.perf_counter() - started
        sequences = choose_sequences(sources[0].tokenizer, inputs["corpus"], spec)
        scores = compare_sequences(sources, sequences, progress)
        descriptions = [source.describe() for source in sources]
    finally:
        for source in sources:
            source.close()
    progress(len(sequences), len(sequences), "compared")
    write_json(out / METRICS_NAME, summarize_scores(sequences, scores).model_dump())
    write_sequences(out / SEQUENCES_NAME, scores)
    write_report(
        out,
        notes=describe_shortage(sequences, spec),
        engines={"base": descriptions[0], "model": descriptions[-1]},
        one_folder=len(folders) == 1,
        prompt_tokens=sum(sequence.first for sequence in sequences),
        load_seconds=load_seconds,
        total_seconds=time.perf_counter() - started,
        versions=list_versions(),
    )


def compare_sequences(
    sources: list[LogitSource], sequences: list[Sequence], progress: Progress
) -> list[TokenScores]:
    """Return each sequence's scores; the first source is the base, the last the candidate.

    Raises:
        InputError: the vocabularies differ, or logits are not finite.
    """
    scores: dict[int, TokenScores] = {}
    for batch in plan_batches(sequences, sources[0].vocab_size):
        progress(len(scores), len(sequences), "comparing logits")
        chosen = [sequences[place] for place in batch]
        rows = [source.read_logits(chosen) for source in sources]
        for place, base, candidate in zip(batch, rows[0], rows[-1], strict=True):
            scores[place] = compare_logits(base, candidate, sequences[place].targets)
    return [scores[place] for place in range(len(sequences))]


def write_sequences(path: Path, scores: list[TokenScores]) -> None:
    """Write the scores of each token, one sequence a line."""
    with path.open("w", encoding="utf-8") as stream:
        for found in scores:
            rounded = {name: [round(x, 6) for x in values] for name, values in vars(found).items()}
            stream.write(json.dumps(rounded) + "\n")
