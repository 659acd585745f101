"""The package's model card. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanekit.files.hub_card import is_exaone_licence, render_metadata
from lanekit.spec.experiment_file import is_local
from lanekit.spec.lane_engine import LaneEngine
from lanekit.spec.params import PackageParams

MODELOPT = "modelopt"  # as config.json names it
CARD = """{front}
# {name}

`{name}` is **{base}** compressed by the lane `{lane}`.

| | |
|---|---|
| Base model | {origin} |
| Lane | `{lane}` |
| Decoder layers | {layers} |
| Weight format | {scheme} |
{arguments}
## Licence

A derivative of {base}, handed on under the licence of that model: see {licences} in this folder.
{exaone}
## Load it

vLLM:

```python
from vllm import LLM, SamplingParams

llm = LLM("{name}"{keywords})
messages = [{{"role": "user", "content": "안녕하세요?"}}]
settings = SamplingParams(temperature=0, max_tokens=128)
outputs = llm.chat(messages, settings, chat_template_kwargs={{"enable_thinking": False}})
print(outputs[0].outputs[0].text)
```

{transformers}`"{name}"` stands for the path of this folder.
"""

TRANSFORMERS = """transformers{needs}:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}", dtype="auto")
inputs = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "안녕하세요?"}}],
    add_generation_prompt=True,
    enable_thinking=False,
    return_tensors="pt",
)
outputs = model.generate(inputs, max_new_tokens=128, do_sample=False)
print(tokenizer.decode(outputs[0][inputs.shape[1] :], skip_special_tokens=True))
```

"""
VLLM_ALONE = """vLLM alone: transformers does not read ModelOpt's format.{cache}

"""
VLLM_CACHE = " The package asks vLLM for an FP8 KV cache by itself."

NEEDS = """
No package carries an engine argument: with the engine's own ones it is another submission than the one that
was evaluated and timed.
"""

EXAONE_TERMS = """
It allows research, education and non-commercial competitions. It asks that a copy of it goes with every
derivative, and that the derivative's name begins with "EXAONE".
"""


def render_card(spec: PackageParams, config: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    """Return README.md's text; `config` is the model's config.json, `licences` maps file names to texts."""
    is_exaone = is_exaone_licence(licences.values())
    source = spec.base_model_source
    hub_id = source if "/" in source and not is_local(source) else None  # a local path is nobody's business
    own = LaneEngine.model_validate(spec.engine_arguments)
    return CARD.format(
        front=render_metadata(licences, hub_id, config),
        name=spec.package_name,
        base=spec.base_model_name,
        origin=f"[{hub_id}](https://huggingface.co/{hub_id})" if hub_id else spec.base_model_name,
        lane=spec.lane,
        layers=config.get("num_hidden_layers", "as in config.json"),
        scheme=describe_format(config),
        arguments=f"| Needs engine arguments | `{own}` |\n{NEEDS}" if own.arguments else "",
        keywords="".join(f", {name}={_write(value)}" for name, value in own.arguments.items()),
        licences=", ".join(f"[`{name}`]({name})" for name in licences),
        exaone=EXAONE_TERMS if is_exaone else "",
        transformers=_render_transformers(spec.package_name, config),
    )


def _write(value: str | bool) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _render_transformers(name: str, config: Mapping[str, Any]) -> str:
    """Return how transformers loads the package, or that it does not."""
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict) and quantization.get("quant_method") == MODELOPT:
        return VLLM_ALONE.format(cache=VLLM_CACHE if quantization.get("kv_cache_quant_algo") else "")
    needs = " (needs `pip install compressed-tensors`)" if quantization is not None else ""
    return TRANSFORMERS.format(name=name, needs=needs)


def describe_format(config: Mapping[str, Any]) -> str:
    """Return e.g. "compressed-tensors, 4-bit int weights, group 128, bf16 rest"."""
    rest = str(config.get("dtype") or config.get("torch_dtype") or "unknown dtype")
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return f"unquantized, {rest}"
    method = quantization.get("quant_method", "quantized")
    if method == MODELOPT:
        cache = quantization.get("kv_cache_quant_algo")
        parts = [f"{quantization.get('quant_algo')} per tensor", *([f"{cache} KV cache"] if cache else [])]
        return ", ".join(["ModelOpt", *parts, f"{rest} elsewhere"])
    groups = quantization.get("config_groups")
    parts = []
    for group in groups.values() if isinstance(groups, dict) else ():
        for role, label in (("weights", "weights"), ("input_activations", "activations")):
            scheme = group.get(role) if isinstance(group, dict) else None
            if isinstance(scheme, dict):
                parts.append(_describe_scheme(scheme, label))
    return ", ".join([str(method), *parts, f"{rest} elsewhere"])


def _describe_scheme(scheme: Mapping[str, Any], label: str) -> str:
    words = [f"{scheme.get('num_bits', '?')}-bit {scheme.get('type', '')} {label}".replace("  ", " ")]
    strategy = scheme.get("strategy")
    if strategy == "group" and scheme.get("group_size"):
        words.append(f"group {scheme['group_size']}")
    elif isinstance(strategy, str):
        words.append(f"per {strategy}")
    if scheme.get("dynamic") is True:
        words.append("dynamic")
    return " ".join(words)
