"""The model's config.json and generation_config.json, against what the pinned transformers reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lanekit.files.small_files import CONFIG, GENERATION_CONFIG, SmallFiles
from lanekit.plan.preflight.finding import Finding, from_error
from lanekit.plan.preflight.kernels import read_count
from lanekit.plan.preflight.request import Request

NEWER_MAJOR = 5
PINNED = "transformers 4.57"
ROPE_FIELDS = ("rope_theta", "partial_rotary_factor")  # beside rope_scaling in transformers 4
COUNTS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
ROPE_THETA = 10_000.0  # what transformers 4 takes where a config names none


def check_config(request: Request) -> Iterator[Finding]:
    """Check what the model that goes in says of itself."""
    model = request.model
    if model is None:
        return
    try:
        config = model.read_object(CONFIG)
    except ValueError as error:
        yield Finding(model.name_place(CONFIG), str(error), "copy this file from the model's origin again")
        return
    if not config:
        remedy = "give a model folder as save_pretrained() writes it"
        yield Finding(model.name_place(CONFIG), "no such file, or nothing in it", remedy)
        return
    if model.trouble is not None:
        yield from_error(model.place, model.trouble)
    for check in (_check_family, _check_counts, _check_writer, _check_rope, _check_dtype):
        yield from check(model, config)
    yield from _check_known(request, model, config)
    if request.is_base and "quantization_config" in config:
        yield Finding(
            model.name_place(CONFIG, "quantization_config"),
            "the base model is quantized already, and every lane is compared with the uncompressed one",
            "give the unquantized model as base_model",
        )
    yield from _check_generation_config(model)


Check = Callable[[SmallFiles, dict[str, Any]], Iterator[Finding]]


def _check_family(model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    names = config.get("architectures")
    is_causal = isinstance(names, list) and any(
        isinstance(n, str) and n.endswith(("ForCausalLM", "LMHeadModel")) for n in names
    )
    if names is not None and not is_causal:
        yield Finding(
            model.name_place(CONFIG, "architectures"),
            f"{json.dumps(names)} is no language model that continues text (…ForCausalLM)",
            "give a causal language model, e.g. LGAI-EXAONE/EXAONE-4.0-1.2B",
        )
    if not isinstance(config.get("model_type"), str):
        yield Finding(
            model.name_place(CONFIG, "model_type"),
            "'model_type' is missing or no text",
            "copy this file from the model's origin again",
        )


def _check_known(request: Request, model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    kind, known = config.get("model_type"), request.host.model_types if request.host else ""
    if known and isinstance(kind, str) and f'("{kind}", ' not in known:
        yield Finding(
            model.name_place(CONFIG, "model_type"),
            f"model_type '{kind}' is not known to the pinned {PINNED}",
            "take a model whose type it knows: code that a model brings along is not run",
        )


def _check_counts(model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    for name in COUNTS:
        if read_count(config, name) is None:
            found = f"is {json.dumps(config[name])}" if name in config else "is missing"
            yield Finding(
                model.name_place(CONFIG, name),
                f"'{name}' {found}; a positive whole number is needed",
                "copy this file from the model's origin again",
            )
    kinds, n_layers = config.get("layer_types"), read_count(config, "num_hidden_layers")
    if isinstance(kinds, list) and n_layers and len(kinds) != n_layers:
        yield Finding(
            model.name_place(CONFIG, "layer_types"),
            f"'layer_types' names {len(kinds)} layers, num_hidden_layers is {n_layers}",
            "make both alike: one entry a layer",
        )


def _check_writer(model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    version = str(config.get("transformers_version") or "")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= NEWER_MAJOR:
        yield Finding(
            model.name_place(CONFIG, "transformers_version"),
            f"written by transformers {version}; the pinned {PINNED} leaves out what it does not know",
            "prefer the model as transformers 4 wrote it, if there is such a revision",
            "warning",
        )


def _check_rope(model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    """Refuse rope settings that stand where transformers 5 alone looks for them."""
    rope = config.get("rope_parameters")
    if rope is None:
        return
    where = model.name_place(CONFIG, "rope_parameters")
    said = f"'rope_parameters' is how transformers 5 writes the rope settings; {PINNED} does not read it"
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        remedy = "take a revision of the model that transformers 4 wrote, with rope_theta and rope_scaling"
        yield Finding(where, f"{said}, and its form has no equal there", remedy)
        return
    wanted = split_rope(rope)
    scaling = config.get("rope_scaling")
    beside = {name: config[name] for name in ROPE_FIELDS if name in config}
    read = split_rope({**(scaling if isinstance(scaling, dict) else {}), **beside})
    if read != wanted:
        yield Finding(
            where,
            f"{said}: it would take {json.dumps(read)[1:-1]}",
            f"put these beside it, in the same file: {json.dumps(wanted)[1:-1]}",
        )


def split_rope(rope: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of transformers 4 that say what transformers 5's `rope_parameters` say."""
    fields = {"rope_theta": ROPE_THETA} | {name: rope[name] for name in ROPE_FIELDS if name in rope}
    scaling = {name: value for name, value in rope.items() if name not in ROPE_FIELDS}
    is_plain = scaling.get("rope_type", scaling.get("type", "default")) == "default"
    return {**fields, "rope_scaling": None if is_plain else scaling}


def _check_dtype(model: SmallFiles, config: dict[str, Any]) -> Iterator[Finding]:
    said = {name: config[name] for name in ("dtype", "torch_dtype") if config.get(name) is not None}
    for name, value in said.items():
        if not isinstance(value, str) or value not in DTYPES:
            yield Finding(
                model.name_place(CONFIG, name),
                f"{name} is {json.dumps(value)}; known: {', '.join(DTYPES)}",
                "write the dtype of the stored weights, as plain text",
            )
            return
    if len(set(said.values())) > 1:
        yield Finding(
            model.name_place(CONFIG, "dtype"),
            f"dtype is {said['dtype']}, torch_dtype {said['torch_dtype']}: they are one setting by two names",
            "keep the one that the weights are stored in",
        )
        return
    stored = DTYPES[next(iter(said.values()), "bfloat16")]
    others = sorted(model.dtypes - {stored}) if "quantization_config" not in config else []
    if others and stored not in model.dtypes:
        given = (
            f"config.json says {next(iter(said))}: {next(iter(said.values()))}" if said else "none is given"
        )
        yield Finding(
            model.name_place(CONFIG, next(iter(said), "")),
            f"the weights are stored as {', '.join(others)}, but {given}: they would be saved as {stored}",
            "write the dtype of the stored weights into config.json as dtype",
        )


def _check_generation_config(model: SmallFiles) -> Iterator[Finding]:
    try:
        settings = model.read_object(GENERATION_CONFIG)
    except ValueError as error:
        remedy = "correct the file, or take it out: decoding is greedy, it tells the end tokens alone"
        yield Finding(model.name_place(GENERATION_CONFIG), str(error), remedy)
        return
    for name, content in ((CONFIG, model.peek_object(CONFIG)), (GENERATION_CONFIG, settings)):
        ends = content.get("eos_token_id")
        ids = ends if isinstance(ends, list) else [ends]
        if ends is not None and not all(type(token) is int and token >= 0 for token in ids):
            yield Finding(
                model.name_place(name, "eos_token_id"),
                f"eos_token_id is {json.dumps(ends)}; a token's number, or a list of them, is needed",
                "write the number of the token that ends a reply",
            )
