"""The model's tokenizer, as far as its small files tell whether the pinned transformers opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lanekit.files.small_files import SPECIAL_TOKENS, TOKENIZER_CONFIG, SmallFiles
from lanekit.plan.preflight.base_config import PINNED
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.params import TrainingParams

FAST_CLASS = "PreTrainedTokenizerFast"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_ALWAYS_KNOWN = (FAST_CLASS, "PreTrainedTokenizer")
_OF_TRANSFORMERS_5 = ("TokenizersBackend", "SentencePieceBackend", "PythonBackend", "MistralCommonBackend")
_COPY = "copy this file from the model's origin again"


def check_tokenizer(request: Request) -> Iterator[Finding]:
    """Check the tokenizer of the model that goes in."""
    model = request.model
    if model is None:
        return
    if not model.names.intersection(VOCABULARIES):
        yield Finding(
            model.place,
            f"no tokenizer ({', '.join(VOCABULARIES)})",
            "save the tokenizer beside the model: tokenizer.save_pretrained(folder)",
        )
    try:
        settings = model.read_object(TOKENIZER_CONFIG)
    except ValueError as error:
        yield Finding(model.name_place(TOKENIZER_CONFIG), str(error), _COPY)
        return
    if not settings:
        yield Finding(model.name_place(TOKENIZER_CONFIG), "no such file, or nothing in it", _COPY)
        return
    yield from _check_class(request, model, settings.get("tokenizer_class"))
    for name in ("extra_special_tokens", "added_tokens_decoder"):
        value = settings.get(name)
        if value is not None and not isinstance(value, dict):
            yield Finding(
                model.name_place(TOKENIZER_CONFIG, name),
                f"'{name}' is a {type(value).__name__}; {PINNED} reads a mapping there "
                "(transformers 5 writes lists)",
                f'write it as a mapping, e.g. "{name}": {{}}: tokens of tokenizer.json stay known',
            )
    yield from _check_special_tokens(request, model)


def _check_class(request: Request, model: SmallFiles, name: Any) -> Iterator[Finding]:
    if name is None or name in _ALWAYS_KNOWN:
        return
    known = request.host.tokenizers if request.host else ""
    is_known = isinstance(name, str) and (not known or f'"{name}"' in known or f'"{name}Fast"' in known)
    if is_known and name not in _OF_TRANSFORMERS_5:
        return
    newer = " (transformers 5 writes it)" if name in _OF_TRANSFORMERS_5 else ""
    yield Finding(
        model.name_place(TOKENIZER_CONFIG, "tokenizer_class"),
        f"the tokenizer's class {json.dumps(name)} is not known to the pinned {PINNED}{newer}",
        f'write "tokenizer_class": "{FAST_CLASS}" there: it reads every tokenizer.json',
    )


def _check_special_tokens(request: Request, model: SmallFiles) -> Iterator[Finding]:
    """Refuse a tokenizer without the tokens that samples end with and are filled up with."""
    tokens = read_special_tokens(model)
    trains = any(isinstance(stage.params, TrainingParams) for stage in request.list_stages())
    wanted = {"eos_token": request.needs_corpus, "pad_token": trains}
    for name in (name for name, is_wanted in wanted.items() if is_wanted and not tokens.get(name)):
        use = (
            "training and calibration end each answer with it"
            if name == "eos_token"
            else "training fills with it"
        )
        yield Finding(
            model.name_place(TOKENIZER_CONFIG, name),
            f"the tokenizer has no {name}: {use}",
            f'name one of its tokens there, e.g. "{name}": "{tokens.get("eos_token") or "[|endofturn|]"}"',
        )


def read_special_tokens(model: SmallFiles) -> Mapping[str, str]:
    """Return the texts of the named special tokens: bos_token, eos_token, pad_token, …"""
    found: dict[str, str] = {}
    for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG):
        for key, value in model.peek_object(name).items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                found[key] = text
    return found


def list_added_tokens(model: SmallFiles) -> list[str]:
    """Return the texts of the added tokens: each is one token wherever it stands."""
    added = model.peek_object(TOKENIZER_CONFIG).get("added_tokens_decoder")
    entries = added.values() if isinstance(added, dict) else ()
    return [
        text for e in entries if isinstance(e, dict) and isinstance(text := e.get("content"), str) and text
    ]
