"""The transformers engine: for machines without CUDA, and for what compressed-tensors reads or simulates."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    StoppingCriteriaList,
)
from transformers.utils import logging as transformers_logging

from evaluator.engines import modelopt
from evaluator.engines.base import Ask, Generation, OnProgress
from evaluator.engines.batches import plan_batches, plan_exact_batches
from evaluator.engines.devices import describe_cpu, query_gpu
from evaluator.engines.eos import read_eos_ids
from evaluator.engines.fp8_cache import Fp8Cache
from evaluator.engines.kernels import count_dense_layers, count_resident_bytes
from evaluator.engines.stop_texts import StopTexts
from lanekit.errors import InputError
from lanekit.host.devices import DeviceKind
from lanekit.spec.evaluation import EngineParams

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformersEngine:
    """Greedy generation in left-padded batches of like length.

    A quantized checkpoint is decompressed once, by compressed-tensors, when it is loaded: the weights are
    the quantized values, and activation quantization stays in every forward pass where the scheme has it.
    Its weights are not quantized a second time in each forward pass, as compressed-tensors would do on a
    model that it takes to be in training; they lie on the grid already.

    Raises:
        InputError: the folder is not readable as a causal language model.
    """

    def __init__(self, model: Path, params: EngineParams) -> None:
        transformers_logging.disable_progress_bar()
        self.params = params
        self.torch_device = pick_device(params.device)
        self.dtype = pick_dtype(params.dtype, self.torch_device)
        self.has_fp8_cache = params.kv_cache_dtype == "fp8"
        torch.manual_seed(params.seed)
        try:
            config = AutoConfig.from_pretrained(str(model), local_files_only=True)
            self.quantization = read_quantization(config)
            self.model, loading = load_model(model, config, self.quantization, self.dtype)
            tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
            self.tokenizer: Any = tokenizer
        except (torch.OutOfMemoryError, InputError):
            raise
        except Exception as error:
            raise InputError(
                f"{model}: transformers cannot load this model: {type(error).__name__}: {error}",
                remedy="check that the folder is complete and in a format that transformers reads",
            ) from error
        check_tensors(model, loading)
        self.model.to(self.torch_device).eval()
        self.n_settled = settle_weights(self.model) if self.quantization else 0
        self.vocab_size = int(config.vocab_size)
        self.eos_ids = read_eos_ids(model, tokenizer)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_ids[0])
        self.gpu = query_gpu() if self.torch_device.type == "cuda" else {}
        self.device_kind: DeviceKind = "cuda" if self.torch_device.type == "cuda" else "cpu"
        self.device = self.gpu.get("gpu", "cuda") if self.gpu else describe_cpu(torch.get_num_threads())
        # The checkpoint's sampling settings have no place in greedy decoding.
        self.model.generation_config = GenerationConfig(pad_token_id=self.pad_id)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        ignore_eos: bool = False,
        stop: Sequence[str] = (),
        on_progress: OnProgress | None = None,
    ) -> list[Generation]:
        """See base.Engine."""
        longest = max(map(len, prompts), default=0)
        if longest + max_new_tokens > self.params.max_model_len:
            raise InputError(
                f"{longest} prompt tokens and {max_new_tokens} new ones exceed "
                f"max_model_len {self.params.max_model_len}",
                remedy="raise evaluation.max_model_len in the experiment file",
            )
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=self.pad_id,
            eos_token_id=None if ignore_eos else self.eos_ids,
        )
        lengths = [len(prompt) for prompt in prompts]
        batches = [list(range(len(prompts)))] if ignore_eos else plan_batches(lengths, self.params.batch_size)
        results: dict[int, Generation] = {}
        for batch in batches:
            for index, generation in zip(
                batch, self._run_batch([prompts[i] for i in batch], settings, stop), strict=True
            ):
                results[index] = generation
            if on_progress:
                on_progress(len(results))
        return [results[i] for i in range(len(prompts))]

    def generate_each(self, asks: Sequence[Ask]) -> list[Generation]:
        """See base.Engine; those under one limit go together, the exact ones in batches of like lengths."""
        results: dict[int, Generation] = {}
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        exact = [i for i, ask in enumerate(asks) if ask.is_exact]
        for index, ask in enumerate(asks):
            if not ask.is_exact:
                groups.setdefault((ask.max_new_tokens, ask.stop), []).append(index)
        for (limit, stop), indexes in groups.items():
            prompts = [asks[i].token_ids for i in indexes]
            results.update(zip(indexes, self.generate(prompts, limit, stop=stop), strict=True))
        for batch in plan_exact_batches([asks[i] for i in exact], self.params.batch_size):
            indexes = [exact[i] for i in batch]
            longest = max(asks[i].max_new_tokens for i in indexes)
            found = self.generate([asks[i].token_ids for i in indexes], longest, ignore_eos=True)
            for index, generation in zip(indexes, found, strict=True):
                kept = generation.token_ids[: asks[index].max_new_tokens]
                results[index] = Generation(kept, finished=False)
        return [results[i] for i in range(len(asks))]

    def _run_batch(
        self, prompts: Sequence[Sequence[int]], settings: GenerationConfig, stop: Sequence[str] = ()
    ) -> list[Generation]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        criteria: Any = StoppingCriteriaList()
        if stop and settings.eos_token_id is not None:
            criteria.append(StopTexts(self.tokenizer, stop, width))
        output = self.model.generate(
            input_ids=ids.to(self.torch_device),
            attention_mask=mask.to(self.torch_device),
            generation_config=settings,
            stopping_criteria=criteria,
            **({"past_key_values": Fp8Cache(config=self.model.config)} if self.has_fp8_cache else {}),
        )
        ends = set(self.eos_ids) if settings.eos_token_id is not None else set()
        rows = output[:, width:].tolist()
        text_ends = criteria[0].ends if criteria else {}
        return [cut_at_stop(row, ends, text_ends.get(i)) for i, row in enumerate(rows)]

    def describe(self) -> dict[str, Any]:
        """See base.Engine."""
        dtype = str(self.dtype).removeprefix("torch.")
        description: dict[str, Any] = {
            "engine": "transformers",
            "device": self.device,
            "dtype": dtype,
            "attention": "sdpa",
            "threads": torch.get_num_threads(),
            "batch_size": self.params.batch_size,
            "quantization": "none",
            "arguments": {
                "dtype": dtype,
                "attention": "sdpa",
                "threads": torch.get_num_threads(),
                "batch_size": self.params.batch_size,
                "max_model_len": self.params.max_model_len,
            },
            "kernels": count_dense_layers(self.model, str(self.quantization.get("quant_method", ""))),
            "kv_cache_dtype": f"fp8 values in {dtype}" if self.has_fp8_cache else dtype,
            "weight_bytes_per_step": count_resident_bytes(self.model),
            **self.gpu,
        }
        if self.quantization:
            method = self.quantization["quant_method"]
            form = self.quantization.get("format", self.quantization.get("quant_algo"))
            description |= {
                "quantization": f"{method}: {form}",
                "weights": f"decompressed at load by {method}, {self.n_settled} linears",
            }
            if self.quantization.get("kv_cache_quant_algo"):
                description["kv_cache"] = "rounded to fp8_e4m3 with the package's scales, kept in the dtype"
        return description

    def sleep(self) -> None:
        """See base.Engine: it stays as it is."""

    def wake(self) -> None:
        """See base.Engine: it never sleeps."""

    def close(self) -> None:
        """See base.Engine."""
        self.model = None
        gc.collect()
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()


def pick_device(name: str) -> torch.device:
    """Return the device; `auto` is CUDA where there is one.

    Raises:
        InputError: CUDA is asked for and absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' is asked for, and torch finds none", remedy="set device: auto")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the weights; `auto` is bfloat16 on CUDA, float32 on the CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[name]


def read_quantization(config: Any) -> dict[str, Any]:
    """Return a config's quantization section, empty where there is none."""
    section = getattr(config, "quantization_config", None)
    if section is None:
        return {}
    return dict(section) if isinstance(section, dict) else dict(section.to_dict())


def load_model(
    model: Path, config: Any, quantization: Mapping[str, Any], dtype: torch.dtype
) -> tuple[Any, Mapping[str, Any]]:
    """Return a model with dense weights, and what transformers tells of its loading."""
    if quantization.get("quant_method") == modelopt.METHOD:
        return modelopt.load_modelopt(model, config, quantization, dtype)
    ask_to_decompress(config)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(model),
        config=config,
        dtype=dtype,
        attn_implementation="sdpa",
        local_files_only=True,
        output_loading_info=True,
    )
    return loaded[0], loaded[1]


def check_tensors(model: Path, loading: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose tensors are not the model's: transformers fills gaps with random weights.

    Args:
        loading: what `from_pretrained(output_loading_info=True)` tells.

    Raises:
        InputError: tensors are missing, left over or of another shape.
    """
    for kind, word in (("missing", "lacks"), ("unexpected", "has left over"), ("mismatched", "misshapes")):
        keys = sorted(str(key) for key in loading.get(f"{kind}_keys") or ())
        if keys:
            raise InputError(
                f"{model}: the checkpoint {word} {len(keys)} tensors: {', '.join(keys[:3])}",
                remedy="make the model again: its weights do not fit its config.json",
            )


def ask_to_decompress(config: Any) -> None:
    """Have a compressed-tensors checkpoint decompressed when it is loaded with this config."""
    if read_quantization(config).get("quant_method") == "compressed-tensors":
        config.quantization_config["run_compressed"] = False


def settle_weights(model: Any) -> int:
    """Mark decompressed linears as done, so that forward passes take their weights as they are.

    Returns how many there are. compressed-tensors skips weight quantization, and only that, on modules whose
    status is COMPRESSED; input and output activations are quantized as before. A scheme without activations
    needs no wrapper at all.
    """
    from compressed_tensors.quantization import QuantizationStatus, disable_quantization

    n_settled = 0
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None and scheme.weights is not None and getattr(module, "weight", None) is not None:
            module.quantization_status = QuantizationStatus.COMPRESSED
            if scheme.input_activations is None and scheme.output_activations is None:
                disable_quantization(module)
            n_settled += 1
    return n_settled


def cut_at_stop(token_ids: Sequence[int], ends: set[int], text_end: int | None = None) -> Generation:
    """Cut a continuation before its first end token, or at `text_end`, where a stop text was complete."""
    for position, token in enumerate(token_ids[:text_end]):
        if token in ends:
            return Generation(list(token_ids[:position]), finished=True)
    by_text = text_end is not None
    return Generation(list(token_ids[:text_end]), finished=by_text, by_text=by_text)
