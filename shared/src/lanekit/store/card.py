"""The README.md that every artifact gets in the object store. Pure: no times, no host, no local path."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lanekit.files.hub_card import is_licence_or_notice
from lanekit.plan.graph import StageRun
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import PackageParams, RankParams

CARD_NAME = "README.md"
UNLISTED = (CARD_NAME, "manifest.json")
SOURCE_FIELDS = ("source", "base_model_source")
PAGE_COLUMNS = 100

CARD = """# {name}

{what}

| | |
| :--- | :--- |
| Stage | `{stage}`, version {version} |
| Label | `{label}` |
| Service | {service} |
| Place | `{place}` |
| Key | `{key}` |

## Parameters

{fence}yaml
{parameters}{fence}

## Inputs

{inputs}

## Files

{files}

## Verify it

`manifest.json` holds the size and sha256 of each file, and is written last: where it is missing, the artifact
is not complete. In a local copy of this folder:

```sh
python3 -c 'import json
for name, entry in json.load(open("manifest.json"))["files"].items():
    print(entry["sha256"], "", name)' | sha256sum --check --quiet
```
"""

LOADING = """
## Load it

`"{name}"` stands for the path of a local copy of this folder. {form}

vLLM:

```python
from vllm import LLM, SamplingParams

llm = LLM("{name}")
messages = [{{"role": "user", "content": "안녕하세요?"}}]
settings = SamplingParams(temperature=0, max_tokens=128)
outputs = llm.chat(messages, settings, chat_template_kwargs={{"enable_thinking": False}})
print(outputs[0].outputs[0].text)
```

transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}", dtype="auto")
```
"""

FORMS = {
    "packed": "The weights are quantized{scheme}: transformers needs `pip install compressed-tensors`, vLLM "
    "brings it along.",
    "modelopt": "The weights are quantized in ModelOpt's format, which vLLM reads and transformers does not.",
    "dense": "The weights are not quantized by this stage.",
    "": "The weights are in the form of the input model; where `config.json` has a `quantization_config`, "
    "transformers needs `pip install compressed-tensors`.",
}

LICENCE = """
## Licence

{kind} and stays under the licence of its base model: {licences}. Where that is an EXAONE model (EXAONE AI
Model License Agreement 1.2 - NC: research, education and non-commercial competitions), whoever hands on a
derivative adds a copy of the licence, and the derivative's name begins with "EXAONE".
"""


def render_card(run: StageRun, inputs: Mapping[str, str], files: Mapping[str, int]) -> str:
    """Return README.md's text.

    Args:
        run: the stage run; its parameters may hold local paths, which are not shown.
        inputs: place, "bucket/name", of each input by its role.
        files: size in bytes of each file by its path in the artifact.
    """
    parameters = _write_yaml(_show_parameters(run))
    text = CARD.format(
        name=run.name,
        what=_describe(run),
        stage=run.type.name,
        version=run.type.version,
        label=run.type.label(run.params),
        service=run.type.service,
        place=run.path,
        key=run.key,
        parameters=parameters,
        fence="`" * max([3, *(1 + len(ticks) for ticks in re.findall("`+", parameters))]),
        inputs=_list_inputs(inputs),
        files=_list_files(files),
    )
    if _is_model(run):
        text += LOADING.format(name=run.name, form=_describe_form(run))
    if _is_model(run) or run.type.bucket == "submissions":
        text += _explain_licence(run, files)
    return text


def _is_model(run: StageRun) -> bool:
    return run.type.gives is not None or run.type.bucket in ("models", "checkpoints")


def _describe(run: StageRun) -> str:
    """Return the first paragraph of the parameters' description."""
    text = inspect.cleandoc(type(run.params).__doc__ or "")
    return " ".join(text.partition("\n\n")[0].split()) or f"What the stage `{run.type.name}` left."


def _describe_form(run: StageRun) -> str:
    if getattr(run.params, "format", "") == "modelopt":
        return FORMS["modelopt"]
    scheme = getattr(run.params, "scheme", "")
    return FORMS[run.type.gives or ""].format(scheme=f" ({scheme}, compressed-tensors)" if scheme else "")


def _show_parameters(run: StageRun) -> Any:
    """Return the parameters without local paths; a ranking's records by their lanes alone."""
    shown = run.params.model_dump(mode="json")
    if isinstance(run.params, RankParams):
        shown["records"] = [str(record.get("lane", "?")) for record in run.params.records]
    return _hide_paths(shown)


def _hide_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "local"
            if name in SOURCE_FIELDS and isinstance(inner, str) and is_local(inner)
            else _hide_paths(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_hide_paths(item) for item in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _write_yaml(value: Any) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=PAGE_COLUMNS,
        default_flow_style=False,
    )


def _list_inputs(inputs: Mapping[str, str]) -> str:
    return "\n".join(f"- {role}: `{place}`" for role, place in sorted(inputs.items())) or "None."


def _list_files(files: Mapping[str, int]) -> str:
    rows = [
        f"| `{name}` | {_format_size(size)} | {size} |".replace("\n", " ")
        for name, size in sorted(files.items())
        if name not in UNLISTED
    ]
    if not rows:
        return "None."
    return "\n".join(["| file | size | bytes |", "| :--- | ---: | ---: |", *rows])


def _format_size(size_bytes: int) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.2f} {unit}"
    return f"{size_bytes} B"


def _explain_licence(run: StageRun, files: Mapping[str, int]) -> str:
    found = [name for name in sorted(files) if is_licence_or_notice(name.rpartition("/")[2])]
    licences = ", ".join(f"`{name}`" for name in found)
    if isinstance(run.params, PackageParams):
        kind = f"This is a derivative of {run.params.base_model_name}"
    elif run.inputs or run.type.takes:
        kind = "This is a derivative"
    else:
        kind = "This is a copy"
    return LICENCE.format(
        kind=kind, licences=licences or "its text is not in this folder, see the base model"
    )
