"""ModelOpt's FP8 format on the transformers engine, against the same arithmetic written out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DynamicCache

from evaluator.engines import load_engine
from lanekit.errors import InputError
from lanekit.spec.evaluation import EngineParams

pytestmark = pytest.mark.slow

IDS = torch.tensor([list(range(20, 60)), list(range(60, 100))])
INPUT_SCALE, K_SCALE, V_SCALE = 0.02, 0.5, 0.25  # coarse ones for the cache, so that it shows
KEPT = "model.layers.0.mlp.down_proj"
Package = Callable[..., Path]


def round_e4m3(values: torch.Tensor, scale: float) -> torch.Tensor:
    return (values.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


@pytest.fixture
def package(tiny_model: Path, tmp_path: Path) -> Package:
    """Write the tiny model in the format, with other scales than any calibration would find."""

    def write(cache: bool = True, without: str = "", **section: Any) -> Path:
        folder = tmp_path / "package"
        folder.mkdir()
        for path in tiny_model.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        tensors = {}
        for name, tensor in load_file(tiny_model / "model.safetensors").items():
            module = name.removesuffix(".weight")
            if not module.endswith("_proj") or module == KEPT:
                tensors[name] = tensor
                continue
            scale = tensor.float().abs().max() / 448
            tensors[name] = (tensor.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
            tensors |= {f"{name}_scale": scale, f"{module}.input_scale": torch.tensor(INPUT_SCALE)}
        for layer in (0, 1) if cache else ():
            attention = f"model.layers.{layer}.self_attn"
            tensors |= {f"{attention}.k_scale": torch.tensor(K_SCALE)}
            tensors |= {f"{attention}.v_scale": torch.tensor(V_SCALE)}
        tensors.pop(without, None)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["quantization_config"] = {
            "quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head", KEPT],
            **({"kv_cache_quant_algo": "FP8"} if cache else {}), **section,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return write


class RoundingCache(DynamicCache):
    """A cache that rounds what enters it."""

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
        return super().update(
            round_e4m3(key_states, K_SCALE), round_e4m3(value_states, V_SCALE), *args, **kwargs
        )


def compute_by_hand(tiny_model: Path, *, cache: bool) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    def round_input(_module: Any, args: Any) -> Any:
        return (round_e4m3(args[0], INPUT_SCALE),)

    for name, module in model.named_modules():
        if name.endswith("_proj") and name != KEPT:
            scale = float(module.weight.abs().max() / 448)
            module.weight.data = round_e4m3(module.weight.data, scale)
            module.register_forward_pre_hook(round_input)
    with torch.inference_mode():
        past = RoundingCache(config=model.config) if cache else None
        logits: torch.Tensor = model(IDS, past_key_values=past).logits
    return logits


@pytest.mark.parametrize("cache", [True, False])
def test_it_computes_what_the_format_says(
    package: Package, tiny_model: Path, engine_params: EngineParams, cache: bool
) -> None:
    engine: Any = load_engine(package(cache), engine_params)
    with torch.inference_mode():
        found = engine.model(IDS).logits
    wanted = compute_by_hand(tiny_model, cache=cache)
    assert torch.allclose(found, wanted, atol=1e-4)
    other = compute_by_hand(tiny_model, cache=not cache)
    assert not torch.allclose(found, other, atol=1e-2), "the cache's rounding would not show"
    about = engine.describe()
    assert about["quantization"] == "modelopt: FP8" and engine.n_settled == 13
    assert ("kv_cache" in about) == cache
    first, again = (engine.generate([list(range(20, 40))], 8)[0].token_ids for _ in range(2))
    assert first == again and len(first) > 0
    engine.close()


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("model.layers.1.mlp.up_proj.input_scale", "lacks 1 tensors: model.layers.1.mlp.up_proj.input_scale"),
        ("model.layers.1.self_attn.v_scale", "lacks 1 tensors: model.layers.1.self_attn.v_scale"),
        ("model.layers.1.mlp.up_proj.weight", "lacks 1 tensors: model.layers.1.mlp.up_proj.weight"),
        ("model.layers.1.mlp.up_proj.weight_scale",
         "lacks 1 tensors: model.layers.1.mlp.up_proj.weight_scale"),
    ],
)  # fmt: skip
def test_a_missing_tensor_is_not_made_up(
    package: Package, engine_params: EngineParams, without: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_engine(package(without=without), engine_params)


def test_a_scale_that_nothing_wants_is_refused(package: Package, engine_params: EngineParams) -> None:
    folder = package(ignore=["lm_head", KEPT, "model.layers.0.mlp.up_proj"])
    with pytest.raises(InputError, match=r"has left over .*up_proj\.input_scale"):
        load_engine(folder, engine_params)


@pytest.mark.parametrize("section", [{"quant_algo": "NVFP4"}, {"kv_cache_quant_algo": "NVFP4"}])
def test_other_algorithms_are_left_to_vllm(
    package: Package, engine_params: EngineParams, section: dict[str, str]
) -> None:
    with pytest.raises(InputError, match=r"NVFP4.* reads FP8 alone") as caught:
        load_engine(package(**section), engine_params)
    assert caught.value.remedy == "use the engine vllm"
