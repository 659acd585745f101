"""The artifact's README.md: every stage type has one, without paths, times or host."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.spec.stages import STAGE_TYPES
from lanekit.store.card import render_card
from lanekit.store.manifest import make_manifest

HOME = "/home/somebody/private"
SOURCE = {"source": f"{HOME}/data.jsonl", "digest": "d" * 64}
HUB = {"source": "org/model", "revision": "abc", "digest": "c" * 40}
TRAINING = {"steps": 1, "learning_rate": 1e-4, "batch_size": 1, "max_length": 8}
ENGINE = {"engine": "transformers"}
BENCHMARK = {
    "name": "kmmlu_pro", "version": 1, "parser": "choice_letter", "metric": "accuracy", "max_new_tokens": 4,
    "prompt": "질문: {question}\n```\n{options}\n```\n답:\n",
}  # fmt: skip
RUBRIC = {
    "system": "Grade.", "first_turn": "1", "first_turn_with_reference": "2", "second_turn": "3",
    "second_turn_with_reference": "4", "rating_pattern": r"\[\[(\d+)\]\]",
}  # fmt: skip
JUDGED = {
    "name": "komt_bench", "version": 1, "parser": "free_text", "metric": "judge", "max_new_tokens": 4,
    "prompt": "{turn}", "rubric": RUBRIC,
}  # fmt: skip
RECORDS = [{"lane": "baseline", "speed": {"device": "host-17"}}, {"lane": "lane01_gptq"}]
PARAMS: dict[str, dict[str, Any]] = {
    "fetch_model": {"name": "Tiny-Model", "model": HUB},
    "prepare_corpus": {"corpus": SOURCE, "train_rows": 1, "validation_rows": 1, "calibration_rows": 1},
    "mix_calibration": {"rows": {"manta": 2, "general": 1}},
    "prepare_benchmarks": {"sets": {"kmmlu_pro": SOURCE, "ko_longrag": {**HUB, "source": "org/rag"}}},
    "sft": TRAINING,
    "prune": {"keep_layers": 28},
    "distill": TRAINING,
    "post_sft": TRAINING,
    "smooth": {"strength": 0.5},
    "gptq": {"scheme": "W4A16", "dampening": 0.05},
    "round": {"scheme": "W8A8"},
    "fp8": {"scheme": "FP8_DYNAMIC"},
    "awq": {"scheme": "W4A16"},
    "autoround": {"scheme": "W4A16"},
    "sensitivity": {"scheme": "W4A16", "ignore": ["lm_head"], "rows": 8, "max_length": 64},
    "evaluate": {"engine": ENGINE, "benchmarks": [BENCHMARK]},
    "compare_logits": {"max_tokens": 64},
    "judge": {"benchmark": JUDGED, "url": "http://judge:8000/v1", "model": "judge"},
    "measure_speed": {"engine": ENGINE},
    "rank": {"records": RECORDS, "weights": {"kmmlu_pro": 1.0}},
    "package": {
        "package_name": "EXAONE-x", "lane": "lane01_gptq", "base_model_name": "EXAONE-4.0-1.2B",
        "base_model_source": f"{HOME}/base", "max_zip_bytes": 1, "max_unpacked_bytes": 1,
    },
    "verify_package": {"engine": ENGINE},
}  # fmt: skip
MODELS = {
    "fetch_model",
    "sft",
    "prune",
    "distill",
    "post_sft",
    "smooth",
    "gptq",
    "round",
    "fp8",
    "awq",
    "autoround",
}
FILES = {"model.safetensors": 2_558_000_000, "config.json": 1234, "LICENSE": 99, "manifest.json": 7}
INPUTS = {"model": "models/tiny-model-0123456789ab", "corpus": "data/corpus-ba9876543210"}
GOLDEN_GPTQ_HEAD = """\
# {name}

GPTQ (Frantar et al. 2022) into a compressed-tensors preset scheme.

| | |
| :--- | :--- |
| Stage | `gptq`, version 2 |
| Label | `gptq_w4a16` |
| Service | quantizer |
| Place | `models/{name}` |
| Key | `{key}` |

## Parameters

```yaml
ignore:
- lm_head
calibration_rows: 512
max_length: 2048
seed: 42
scheme: W4A16
dampening: 0.05
block_size: 128
actorder: static
```

## Inputs

- corpus: `data/corpus-ba9876543210`
- model: `models/tiny-model-0123456789ab`

## Files

| file | size | bytes |
| :--- | ---: | ---: |
| `LICENSE` | 99 B | 99 |
| `config.json` | 1.23 kB | 1234 |
| `model.safetensors` | 2.56 GB | 2558000000 |

## Verify it
"""


def make(stage: str, lock_digests: Mapping[str, str], **changes: Any) -> StageRun:
    """Make a stage's run with minimal parameters."""
    params = STAGE_TYPES[stage].params.model_validate({**PARAMS[stage], **changes})
    return make_stage_run(stage, params, {}, lock_digests)


def read_parameters(card: str) -> Any:
    """Return the parameters that a card shows."""
    found = re.search(r"^(`{3,})yaml\n(.*?)^\1$", card, re.DOTALL | re.MULTILINE)
    assert found
    return yaml.safe_load(found[2])


@pytest.mark.parametrize("stage", list(STAGE_TYPES))
def test_every_stage_type_has_a_card(stage: str, lock_digests: Mapping[str, str]) -> None:
    run = make(stage, lock_digests)
    card = render_card(run, INPUTS, FILES)
    assert card == render_card(run, dict(reversed(INPUTS.items())), dict(reversed(FILES.items())))
    assert card.startswith(f"# {run.name}\n\n") and card.endswith("\n")
    for expected in (f"`{stage}`, version {run.type.version}", run.type.service, run.key, run.path):
        assert expected in card
    assert set(read_parameters(card)) == set(run.params.model_dump())
    assert ("## Load it" in card) == (stage in MODELS)
    assert ("## Licence" in card) == (stage in MODELS | {"package"})
    assert HOME not in card and "host-17" not in card
    assert not re.search(
        r"\{[a-z_]+\}", card.replace("{question}", "").replace("{options}", "").replace("{turn}", "")
    )


def test_the_card_of_a_quantized_model_is_the_golden_one(lock_digests: Mapping[str, str]) -> None:
    run = make("gptq", lock_digests)
    card = render_card(run, INPUTS, FILES)
    assert card.startswith(GOLDEN_GPTQ_HEAD.format(name=run.name, key=run.key))
    for expected in (
        "quantized (W4A16, compressed-tensors): transformers needs `pip install compressed-tensors`",
        f'LLM("{run.name}")',
        f'AutoModelForCausalLM.from_pretrained("{run.name}", dtype="auto")',
        "This is a derivative and stays under the licence of its base model: `LICENSE`.",
        'begins with "EXAONE"',
    ):
        assert expected in card


def test_sources_on_the_hub_are_shown_and_local_ones_are_not(lock_digests: Mapping[str, str]) -> None:
    shown = read_parameters(render_card(make("prepare_benchmarks", lock_digests), {}, {}))
    assert shown["sets"]["ko_longrag"]["source"] == "org/rag"
    local = {**SOURCE, "source": "local", "revision": "main", "split": "train", "rows": None}
    assert shown["sets"]["kmmlu_pro"] == local
    for path in ("./here", "../there", "~/home", "/root"):
        model = {**HUB, "source": path}
        card = render_card(make("fetch_model", lock_digests, model=model), {}, {})
        assert read_parameters(card)["model"]["source"] == "local" and path not in card
    assert "None." in card


def test_a_fence_in_a_prompt_does_not_end_the_parameters(lock_digests: Mapping[str, str]) -> None:
    shown = read_parameters(render_card(make("evaluate", lock_digests), {}, {}))
    assert shown["benchmarks"][0]["prompt"] == BENCHMARK["prompt"]


def test_a_ranking_names_its_lanes_alone(lock_digests: Mapping[str, str]) -> None:
    shown = read_parameters(render_card(make("rank", lock_digests), {}, {}))
    assert shown["records"] == ["baseline", "lane01_gptq"]


def test_a_submission_names_its_base_and_the_licence_in_it(lock_digests: Mapping[str, str]) -> None:
    run = make("package", lock_digests)
    card = render_card(run, {}, {"package/LICENSE": 1, "submit.zip": 5, "package/NOTICE.txt": 1})
    expected = "derivative of EXAONE-4.0-1.2B and stays under the licence of its base model: "
    assert expected + "`package/LICENSE`, `package/NOTICE.txt`." in card
    assert "its text is not in this folder" in render_card(run, {}, {"submit.zip": 5})


def test_the_form_of_the_weights_is_told(lock_digests: Mapping[str, str]) -> None:
    assert "not quantized by this stage" in render_card(make("sft", lock_digests), {}, {})
    assert "in the form of the input model" in render_card(make("post_sft", lock_digests), {}, {})
    assert "(FP8_DYNAMIC, compressed-tensors)" in render_card(make("fp8", lock_digests), {}, {})
    modelopt = make("fp8", lock_digests, scheme="FP8", format="modelopt")
    assert "ModelOpt's format, which vLLM reads and transformers does not" in render_card(modelopt, {}, {})


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_command_of_the_card_verifies(lock_digests: Mapping[str, str], tmp_path: Path) -> None:
    run = make("gptq", lock_digests)
    (tmp_path / "a file.txt").write_text("text", encoding="utf-8")
    card = render_card(run, {}, {"a file.txt": 4})
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    manifest = make_manifest(run, tmp_path, started_at=datetime.now(timezone.utc), seconds=1.0)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    found = re.search(r"```sh\n(.*?)```", card, re.DOTALL)
    assert found
    command = ["bash", "-o", "pipefail", "-ec", found[1]]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "a file.txt").write_text("tExt", encoding="utf-8")
    changed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert changed.returncode != 0 and "a file.txt" in changed.stdout
