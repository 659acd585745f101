"""The vLLM engine: the contest's own, on CUDA; its CPU builds serve for tests."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from evaluator.engines.base import Ask, Generation, OnProgress
from evaluator.engines.devices import describe_cpu, query_gpu
from evaluator.engines.eos import read_eos_ids
from evaluator.engines.kernels import count_kernels
from evaluator.engines.residents import check_free_memory, check_room, explain_dead_engine
from evaluator.engines.sleeping import can_sleep, keep_kv_scales, measure_pool, restore_after_wake
from evaluator.engines.step_bytes import count_step_bytes
from lanekit.errors import InputError, PermanentError
from lanekit.files.safetensors_header import check_model_folder
from lanekit.host.devices import DeviceKind
from lanekit.spec.evaluation import EngineParams

# Set before vLLM is imported; what the environment says goes first. The engine core runs in a process of
# its own, so that closing it gives all memory back; it is spawned, since the parent may have threads.
_ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # functions go to the engine core, over a local pipe
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; used on the CPU only
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # OMP_NUM_THREADS decides
}


class VllmEngine:
    """Greedy generation with continuous batching; prefix caching is off, so that repeats do the same work.

    Where vLLM has its sleep mode the engine can sleep: it then keeps its weights in host memory.

    Raises:
        InputError: the folder is no whole model, or this build has not the device or KV cache asked for.
        TransientError: the GPU has less free memory than asked for; or the engine died (`generate`).
        LanekitError: vLLM does not start on this model.
    """

    def __init__(self, model: Path, params: EngineParams) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import vllm
        from vllm.platforms import current_platform

        self.version = vllm.__version__
        self.params = params
        self.device_type = str(current_platform.device_type)
        if params.device != "auto" and params.device != self.device_type:
            raise InputError(
                f"device '{params.device}' is asked for, and this vLLM build runs on '{self.device_type}'",
                remedy="set device: auto, or install the vLLM build for that device",
            )
        if params.kv_cache_dtype != "auto" and self.device_type == "cpu":
            raise InputError(
                f"kv_cache_dtype '{params.kv_cache_dtype}' is asked for, and vLLM's CPU build has none",
                remedy="set evaluation.kv_cache_dtype: auto in the experiment file, or take it out of the "
                "lane's `engine`",
            )
        folder = check_model_folder(model)
        config = AutoConfig.from_pretrained(str(model), local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
        self.vocab_size = int(config.vocab_size)
        self.eos_ids = read_eos_ids(model, tokenizer)
        # Compiling graphs for a CPU costs minutes and would be timed in no measurement.
        self.eager = params.enforce_eager or self.device_type == "cpu"
        self.dtype = pick_dtype(params.dtype, self.device_type)
        self.can_sleep, self.is_awake = can_sleep(), True
        if self.device_type == "cuda":
            check_free_memory(params.gpu_memory_utilization)
        try:
            self.llm: Any = vllm.LLM(
                model=str(model),
                dtype=self.dtype,
                max_model_len=params.max_model_len,
                max_num_seqs=params.batch_size,
                gpu_memory_utilization=params.gpu_memory_utilization,
                enforce_eager=self.eager,
                enable_prefix_caching=False,
                enable_sleep_mode=self.can_sleep,
                kv_cache_dtype=params.kv_cache_dtype,
                seed=params.seed,
                generation_config="vllm",
                disable_log_stats=True,
            )
        except Exception as error:
            raise PermanentError(
                f"{model}: vLLM {self.version} does not start on this model ({self.device_type}): {error}",
                remedy="the engine's own message stands above in the stage's log",
            ) from error
        dtype = str(self.llm.llm_engine.vllm_config.model_config.dtype).removeprefix("torch.")
        self.step_bytes = count_step_bytes(folder, DTYPE_BITS.get(dtype))
        if self.can_sleep:
            self.llm.collective_rpc(keep_kv_scales)
        self.gpu = query_gpu() if self.device_type == "cuda" else {}
        self.device_kind: DeviceKind = "cpu" if self.device_type == "cpu" else "cuda"
        self.device = self.gpu.get("gpu", self.device_type)
        if self.device_type == "cpu":
            self.device = describe_cpu(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))

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
        asks = [Ask(prompt, max_new_tokens, tuple(stop), ignore_eos) for prompt in prompts]
        return self.generate_each(asks, on_progress)

    def generate_each(self, asks: Sequence[Ask], on_progress: OnProgress | None = None) -> list[Generation]:
        """See base.Engine."""
        from vllm import TokensPrompt

        with explain_dead_engine():
            outputs = self.llm.generate(
                [TokensPrompt(prompt_token_ids=list(ask.token_ids)) for ask in asks],
                [self._make_sampling(ask) for ask in asks],
                use_tqdm=_make_bar(on_progress) if on_progress else False,
            )
        ends = set(self.eos_ids)
        return [
            _read_output(output.outputs[0], set() if ask.is_exact else ends)
            for ask, output in zip(asks, outputs, strict=True)
        ]

    def _make_sampling(self, ask: Ask) -> Any:
        from vllm import SamplingParams

        is_free = not ask.is_exact
        return SamplingParams(
            temperature=0.0,
            max_tokens=ask.max_new_tokens,
            min_tokens=0 if is_free else ask.max_new_tokens,
            ignore_eos=ask.is_exact,
            stop_token_ids=self.eos_ids if is_free else None,
            seed=self.params.seed,
            stop=list(ask.stop) if is_free else None,
            detokenize=bool(ask.stop) and is_free,
        )

    def describe(self) -> dict[str, Any]:
        """See base.Engine."""
        config = self.llm.llm_engine.vllm_config
        dtype = str(config.model_config.dtype).removeprefix("torch.")
        kv_cache_dtype = str(config.cache_config.cache_dtype)
        kv_cache_blocks = int(config.cache_config.num_gpu_blocks or 0)
        return {
            "engine": "vllm",
            "vllm": self.version,
            "device": self.device,
            "dtype": dtype,
            "quantization": str(config.model_config.quantization or "none"),
            "max_model_len": self.params.max_model_len,
            "max_num_seqs": self.params.batch_size,
            "gpu_memory_utilization": self.params.gpu_memory_utilization,
            "enforce_eager": self.eager,
            "arguments": self._list_arguments(config),
            "kernels": self._count_kernels(),
            "kv_cache_dtype": dtype if kv_cache_dtype == "auto" else kv_cache_dtype,
            "kv_cache_blocks": kv_cache_blocks,
            "kv_cache_tokens": kv_cache_blocks * int(config.cache_config.block_size),
            "sleep_mode": self.can_sleep,
            "weight_bytes_per_step": self.step_bytes,
            **self.gpu,
        }

    def _list_arguments(self, config: Any) -> dict[str, str | int | float | bool]:
        """Return what vLLM was asked, and of what it chose by itself all that no model decides."""
        return {
            "dtype": self.dtype,
            "max_model_len": self.params.max_model_len,
            "max_num_seqs": self.params.batch_size,
            "max_num_batched_tokens": int(config.scheduler_config.max_num_batched_tokens),
            "chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
            "prefix_caching": False,
            "gpu_memory_utilization": self.params.gpu_memory_utilization,
            "enforce_eager": self.eager,
            "cudagraph_mode": str(getattr(config.compilation_config.cudagraph_mode, "name", "none")),
            "kv_cache_dtype": self.params.kv_cache_dtype,
            "block_size": int(config.cache_config.block_size),
            "tensor_parallel_size": 1,
        }

    def _count_kernels(self) -> dict[str, int] | str:
        try:
            return dict(self.llm.apply_model(count_kernels)[0])
        except Exception as error:  # a matter of record: no reason to lose a measurement
            return f"unknown: {error}"

    def sleep(self) -> None:
        """See base.Engine."""
        if self.can_sleep and self.is_awake:
            with explain_dead_engine():
                self.llm.sleep(level=1)
            self.is_awake = False

    def wake(self) -> None:
        """See base.Engine."""
        if not self.is_awake:
            with explain_dead_engine():
                check_room(*self.llm.collective_rpc(measure_pool)[0])
                self.llm.wake_up()
                self.llm.collective_rpc(restore_after_wake)
            self.is_awake = True

    def close(self) -> None:
        """See base.Engine."""
        if self.llm is not None:
            self.llm.llm_engine.engine_core.shutdown()
            self.llm = None
            multiprocessing.active_children()  # reaps those that have ended
        gc.collect()


DTYPE_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


def pick_dtype(name: str, device_type: str) -> str:
    """Return vLLM's dtype argument; `auto` on the CPU is float32, as the transformers engine has it."""
    return "float32" if name == "auto" and device_type == "cpu" else name


def _read_output(output: Any, ends: set[int]) -> Generation:
    token_ids = [int(token) for token in output.token_ids]
    if isinstance(output.stop_reason, str):
        return Generation(token_ids, finished=True, by_text=True)
    if token_ids and token_ids[-1] in ends:
        return Generation(token_ids[:-1], finished=True)
    return Generation(token_ids, finished=False)


def _make_bar(on_progress: OnProgress) -> Any:
    """Return a tqdm class that tells `on_progress` and draws nothing."""
    from tqdm import tqdm

    class ReportingBar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with Path(os.devnull).open("w") as sink:
                quiet = {"file": sink, "dynamic_ncols": False, "mininterval": 1e9}
                super().__init__(*args, **{**kwargs, **quiet})
            self.done = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            on_progress(self.done)
            return None

    return ReportingBar
