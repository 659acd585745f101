"""Bytes of a decode step, by hand, and what nvidia-smi says of a GPU at work."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines.devices import query_gpu
from evaluator.engines.kernels import count_kernels
from evaluator.engines.step_bytes import count_step_bytes
from evaluator.speed.gpu_state import (
    FACTS,
    STATE,
    GpuMonitor,
    find_warnings,
    join_states,
    name_reasons,
    parse_line,
)
from evaluator.speed.roofline import Roofs, Step, judge_step, measure_host, measure_step
from evaluator.speed.work import Work
from lanekit.files.safetensors_header import ModelFolder, SafetensorsHeader, TensorInfo, check_model_folder
from lanekit.host.gpu_models import find_gpu_model

FIXTURE = Path(__file__).parents[4] / "scripts" / "tiny" / "fixture"
Tensor = tuple[str, tuple[int, ...], int]


def make_folder(config: dict[str, Any], **tensors: Tensor) -> ModelFolder:
    """Make a folder's headers from name (two underscores for a dot): dtype, shape, bytes."""
    infos = {n.replace("__", "."): TensorInfo(d, s, (0, size)) for n, (d, s, size) in tensors.items()}
    return ModelFolder(Path("m"), config, {"x": SafetensorsHeader(Path("m/x"), 0, infos)})


EMBED: Tensor = ("BF16", (100, 8), 1600)
HEAD: Tensor = ("BF16", (100, 8), 1600)
NORM: Tensor = ("BF16", (8,), 16)


def test_the_fixture_by_hand() -> None:
    # 30 layers: q and o 128·128, k and v 64·128, three of 128·128 in the MLP, norms 2·128 and 2·32.
    layer = 2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 128 + 2 * 128 + 2 * 32
    expected = 2 * (30 * layer + 1408 * 128 + 128)
    folder = check_model_folder(FIXTURE)
    assert count_step_bytes(folder) == expected == count_step_bytes(folder, 16)
    assert count_step_bytes(folder, 32) == 2 * expected


def test_a_tied_table_is_the_head_and_counts_once() -> None:
    tied = {"tie_word_embeddings": True}
    table: dict[str, Tensor] = {"model__embed_tokens__weight": EMBED, "model__norm__weight": NORM}
    assert count_step_bytes(make_folder(tied, **table)) == 1616
    assert count_step_bytes(make_folder(tied, **table, lm_head__weight=HEAD)) == 1616  # saved twice
    assert (
        count_step_bytes(make_folder({}, **table)) == 1616
    )  # the config is silent, and there is no other head


def test_an_untied_table_is_only_looked_up() -> None:
    packed: Tensor = ("I32", (100, 1), 400)
    table: dict[str, Tensor] = {"model__embed_tokens__weight": EMBED, "model__norm__weight": NORM}
    assert (
        count_step_bytes(make_folder({"tie_word_embeddings": False}, **table, lm_head__weight=HEAD)) == 1616
    )
    assert count_step_bytes(make_folder({}, **table, lm_head__weight_packed=packed)) == 416


def test_a_packed_layer_by_hand() -> None:
    """W4A16, group 128, of a linear 256 × 512: half a byte a weight, a scale for each group."""
    folder = make_folder(
        {"tie_word_embeddings": True},
        model__layers__0__mlp__up_proj__weight_packed=("I32", (256, 64), 65536),
        model__layers__0__mlp__up_proj__weight_scale=("BF16", (256, 4), 2048),
        model__layers__0__mlp__up_proj__weight_zero_point=("I32", (32, 4), 512),
        model__layers__0__mlp__up_proj__weight_shape=("I64", (2,), 16),  # read by the loader alone
        model__layers__0__mlp__down_proj__weight=("F8_E4M3", (512, 256), 131072),
        model__norm__weight=NORM,
    )
    assert count_step_bytes(folder) == 65536 + 2048 + 512 + 131072 + 16
    # An engine in float32 widens what is not quantized, and nothing else.
    assert count_step_bytes(folder, 32) == 65536 + 2048 + 512 + 131072 + 32


@pytest.mark.slow
def test_the_engines_float32_is_32_bits() -> None:
    from evaluator.engines.vllm_engine import DTYPE_BITS

    assert DTYPE_BITS["float32"] == 32


@pytest.mark.slow
def test_a_real_packed_checkpoint_by_hand(quantize: Callable[[str], Path]) -> None:
    """The random model of conftest in W4A16: 2 layers, hidden 128, FFN 256, vocabulary 640."""
    weights = 2 * 128 * 128 + 2 * 64 * 128 + 3 * 256 * 128
    rows = 128 + 64 + 64 + 128 + 256 + 256  # one group of 128 inputs each …
    scales = rows + 128 * 2  # … but down_proj has 256 inputs, so two
    norms = 2 * 128 + 2 * 32
    expected = 2 * (weights // 2 + 2 * scales + 2 * norms) + 2 * (640 * 128 + 128)
    assert count_step_bytes(check_model_folder(quantize("W4A16")), 16) == expected


def test_the_shares_by_hand() -> None:
    # 2.4 GB at 300 GB/s take 8 ms, 121 G operations at 121 T/s 1 ms; of a step of 10 ms.
    step = Step(8, 0.010, Work(2.4e9, 121e9))
    bound = judge_step(step, Roofs(300e9, 121e12), 0.0015)
    shares = (bound.host_share, bound.memory_share, bound.compute_share)
    assert shares == (pytest.approx(0.15), pytest.approx(0.8), pytest.approx(0.1))
    assert bound.verdict == "memory bandwidth" and bound.seconds == 0.010
    assert (bound.read_bytes, bound.operations) == (2.4e9, 121e9)
    assert judge_step(step, Roofs(300e9, 20e12)).verdict == "memory bandwidth"  # the greater of two
    assert judge_step(step, Roofs(600e9, 20e12)).verdict == "compute"
    assert judge_step(step, Roofs(3e12, 121e12), 0.005).verdict == "host"
    assert judge_step(step, Roofs(3e12, 121e12), 0.0049).verdict == ""  # less than half: none alone


def test_of_a_device_that_is_not_known_nothing_is_said() -> None:
    step = Step(1, 0.010, Work(2.4e9, 121e9))
    bound = judge_step(step, Roofs())
    assert (bound.host_share, bound.memory_share, bound.compute_share, bound.verdict) == (
        None,
        None,
        None,
        "",
    )
    assert measure_host({"a": step, "b": Step(8, 0.010, step.work)}, 2.4e9, Roofs()) is None


def make_steps(**seconds: float) -> dict[str, Step]:
    """Make steps of `b<number of sequences>` of some seconds; their work does not matter to the host."""
    return {name: Step(int(name[1:]), s, Work(0, 0)) for name, s in seconds.items()}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # 300 MB at 300 GB/s: the weights take 1 ms of every step.
        ({"b1": 0.003, "b8": 0.003}, 0.002),  # as long for 8: all but the weights is the host's
        ({"b1": 0.003, "b8": 0.0028}, 0.0018),  # noise: never more than the shorter
        ({"b1": 0.003, "b8": 0.010}, 0.001),  # 1 ms a sequence, 2 ms for none
        ({"b1": 0.001, "b8": 0.008}, 0.0),  # all by the sequences
        ({"b1": 0.003, "b2": 0.9, "b4": 0.003, "b8": 0.9}, 0.002),  # b4 is the first of four times as many
        ({"b1": 0.003, "b2": 0.003, "b3": 0.003}, None),
        ({"b4": 0.003}, None),
        ({}, None),
    ],
)
def test_the_host_is_what_a_step_of_none_would_take(
    seconds: dict[str, float], expected: float | None
) -> None:
    host = measure_host(make_steps(**seconds), 300e6, Roofs(300e9, None))
    assert host == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_a_step_is_what_the_prefill_leaves() -> None:
    assert measure_step(1.0, 5, 0.2) == pytest.approx(0.2)  # the first of five tokens comes with the prefill
    assert measure_step(1.0, 5, 0.0) == 0.25
    assert measure_step(1.0, 5, 0.79) == pytest.approx(0.0525)
    assert measure_step(1.0, 5, 0.8) is None  # too little is left to tell
    assert measure_step(1.0, 1, 0.0) is None


@pytest.mark.slow
def test_the_kernel_of_an_fp8_layer_is_named() -> None:
    """vLLM's FP8 W8A8 scheme has no `kernel`: its operator chooses a backend, on CUDA alone."""
    import torch

    class Fp8LinearOp:
        preferred_backend = "cutlass"

    class CompressedTensorsW8A8Fp8:
        fp8_linear = Fp8LinearOp()

    class CompressedTensorsLinearMethod:
        pass

    model = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(2, 2), "act": torch.nn.ReLU()})
    model["q_proj"].quant_method = CompressedTensorsLinearMethod()
    model["q_proj"].scheme = CompressedTensorsW8A8Fp8()
    name = "q_proj: CompressedTensorsLinearMethod/CompressedTensorsW8A8Fp8/Fp8LinearOp:cutlass"
    assert count_kernels(model) == {name: 1}

    class ModelOptFp8LinearMethod:
        fp8_linear = Fp8LinearOp()

    model["q_proj"].quant_method, model["q_proj"].scheme = ModelOptFp8LinearMethod(), None
    assert count_kernels(model) == {"q_proj: ModelOptFp8LinearMethod/Fp8LinearOp:cutlass": 1}


def test_names_tell_like_cards_apart() -> None:
    cards = ["NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "NVIDIA L40S"]
    found = [find_gpu_model(card) for card in cards]
    assert [gpu and gpu.bandwidth_bytes_per_s for gpu in found] == [1.555e12, 2.039e12, 1.935e12, 8.64e11]
    assert find_gpu_model("cpu: Intel") is None


# What nvidia-smi answers, in the order of FACTS, STATE and the reasons.
L4_ANSWER = (
    "NVIDIA L4, 550.54.15, 23034, 72.00, Enabled, 2040, 6251, P0, 1605, 6251, 61, 71.35, 0x0000000000000004\n"
)
PLAIN_ANSWER = "NVIDIA GeForce RTX 3090, 470.1, 24576, [N/A], Disabled, 2100, 9751, P2, 1950, 9501, 44, [Not Supported], 0x0000000000000000\n"  # noqa: E501
NAMES = (*FACTS.values(), *STATE.values(), "slowdown_reasons")


def test_an_answer_is_read_by_name() -> None:
    found = parse_line(L4_ANSWER, NAMES)
    assert found["name"] == "NVIDIA L4" and found["driver"] == "550.54.15"
    assert found["memory_total_mib"] == "23034" and found["power_limit_w"] == "72.00"
    assert (found["sm_clock_mhz"], found["memory_clock_mhz"]) == ("1605", "6251")
    assert (found["temperature_c"], found["power_w"]) == ("61", "71.35")
    assert found["slowdown_reasons"] == "software power cap"


def test_what_is_not_available_is_left_out() -> None:
    found = parse_line(PLAIN_ANSWER, NAMES)
    assert "power_limit_w" not in found and "power_w" not in found
    assert found["slowdown_reasons"] == "none"
    assert parse_line("", NAMES) == parse_line("No devices were found\n", NAMES) == {}
    two = parse_line(L4_ANSWER + PLAIN_ANSWER, NAMES)
    assert two["name"] == "NVIDIA L4"


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("0x0000000000000001", "idle"),
        ("0x0000000000000060", "software thermal slowdown, hardware thermal slowdown"),
        ("0x0000000000001004", "software power cap, unknown 0x1000"),
        ("Active", "Active"),
    ],
)
def test_reasons_have_names(mask: str, words: str) -> None:
    assert name_reasons(mask) == words


def test_fallen_clocks_and_reasons_are_warned_of() -> None:
    before = {"sm_clock_mhz": "1980", "memory_clock_mhz": "6251", "slowdown_reasons": "none"}
    after = {"sm_clock_mhz": "1500", "memory_clock_mhz": "6251", "slowdown_reasons": "software power cap"}
    clock, reason = find_warnings(before, after)
    assert "SM clock fell from 1980 to 1500 MHz" in clock
    assert "after the timed repeats: software power cap" in reason
    assert find_warnings(before, {**before, "sm_clock_mhz": "1890"}) == []  # 4.5 %
    assert find_warnings({**before, "slowdown_reasons": "idle"}, before) == []
    assert find_warnings({}, {}) == []


def fake_smi(folder: Path, *, knows: str, seconds: float = 0.0) -> Path:
    """Write an nvidia-smi that answers as drivers do; it refuses a query for fields that it does not know."""
    values = dict(zip(NAMES, L4_ANSWER.strip().split(", "), strict=True))
    answers = {field: values[name] for field, name in {**FACTS, **STATE, knows: "slowdown_reasons"}.items()}
    path = folder / "nvidia-smi"
    path.write_text(
        "#!/usr/bin/env python3\nimport json, sys, time\n"
        f"answers = json.loads({json.dumps(json.dumps(answers))})\n"
        "fields = sys.argv[1].partition('=')[2].split(',')\n"
        f"time.sleep({seconds})\n"
        "unknown = [field for field in fields if field not in answers]\n"
        "if unknown:\n    sys.exit(f'Field \"{unknown[0]}\" is not a valid field to query.')\n"
        "if '--id=7' in sys.argv:\n    answers['name'] = 'NVIDIA L40S'\n"
        "print(', '.join(answers[field] for field in fields))\n",
        encoding="utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("field", ["clocks_event_reasons.active", "clocks_throttle_reasons.active", "none"])
def test_the_state_is_read_while_the_gpu_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Old and new drivers call the reasons differently; some tell none."""
    fake_smi(tmp_path, knows=field, seconds=0.1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monitor = GpuMonitor()
    assert monitor.facts["name"] == "NVIDIA L4" and "sm_clock_mhz" not in monitor.facts
    worked: list[float] = []
    state = monitor.read_under(lambda: (worked.append(time.monotonic()), time.sleep(0.02)))
    assert len(worked) >= 3  # all the while
    assert state["sm_clock_mhz"] == "1605"
    assert state.get("slowdown_reasons") == (None if field == "none" else "software power cap")
    joined = join_states(monitor.facts, state, {})
    assert joined["sm_clock_mhz_before"] == "1605" and joined["driver"] == "550.54.15"


def test_the_gpu_is_the_visible_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, knows="none")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert query_gpu() == {"gpu": "NVIDIA L40S", "driver": "550.54.15"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert query_gpu()["gpu"] == "NVIDIA L4"


def test_without_nvidia_smi_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monitor = GpuMonitor()
    worked: list[int] = []
    assert monitor.facts == {} and monitor.read_under(lambda: worked.append(1)) == {}
    assert query_gpu() == {}
