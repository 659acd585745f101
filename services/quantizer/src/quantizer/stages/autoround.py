"""AutoRound through llmcompressor: which way each weight is rounded is learnt, a decoder layer at a time.

Cheng et al. 2023, "Optimize Weight Rounding via Signed Gradient Descent for the Quantization of LLMs",
arXiv:2309.05516. Rounding and clipping take a few hundred steps of signed gradient descent on the error of
the layer's output. The rows are joined into blocks of equal length, which its batches want: a conversation
may see the end of the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from lanekit.errors import PermanentError
from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import AutoRoundParams
from quantizer.autoround_recording import LayerLosses, record_autoround
from quantizer.blocks import join_rows
from quantizer.calibrated import calibrate, name_some
from quantizer.layers import choose_ignored, report_kept
from quantizer.loading import load_calibration_set, load_for_quantization
from quantizer.saving import save_packed

OTHER_ROWS = "take other calibration rows, or gptq: a layer's output is not finite"


def run(spec: AutoRoundParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore` and `keep`.

    Raises:
        InputError: the model is quantized already, a width does not divide by the group size, or the rows are
            too few.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale, weight or loss is not finite.
        PermanentError: auto-round is not installed.
    """
    check_library()
    from llmcompressor.modifiers.autoround import AutoRoundModifier

    model, tokenizer = load_for_quantization(inputs["model"], spec)
    kept, ignored = choose_ignored(model, spec, inputs)
    calibration = load_calibration_set(tokenizer, inputs["corpus"], spec)
    blocks = join_rows(calibration, spec.max_length, spec.batch_size)
    n_layers = model.config.num_hidden_layers
    progress(0, n_layers, "; ".join(["calibrating", *calibration.notes]))
    modifier = AutoRoundModifier(
        targets="Linear", scheme=spec.scheme, ignore=ignored, iters=spec.iterations,
        batch_size=spec.batch_size, enable_torch_compile=False,
    )  # fmt: skip
    with record_autoround(n_layers, spec.seed, progress) as losses:
        calibrate(model, tokenizer, modifier, blocks.calibration, spec)
    check_losses(losses)
    sizes = save_packed(model, inputs["model"], out, OTHER_ROWS)
    write_report(
        out,
        scheme=spec.scheme,
        iterations=spec.iterations,
        notes=calibration.notes,
        **calibration.report,
        calibration_blocks=len(blocks.calibration.sequences),
        calibration_tokens_left_out=blocks.tokens_left_out,
        layer_losses={name: {"rounded": first, "least": least} for name, (first, least) in losses.items()},
        **sizes,
        **report_kept(kept),
    )


def check_library() -> None:
    """Refuse to begin without auto-round.

    Raises:
        PermanentError: it is not installed.
    """
    if find_spec("auto_round") is None:
        raise PermanentError(
            "autoround wants the package auto-round, which is not installed here",
            remedy="./scripts/dev setup, or build the quantizer's image again",
        )


def check_losses(losses: LayerLosses) -> None:
    """Refuse a result where the loss of a layer is not finite.

    Raises:
        NonFiniteWeightsError: names the layers.
    """
    bad = [name for name, pair in losses.items() if not all(map(math.isfinite, pair))]
    if bad:
        raise NonFiniteWeightsError(f"AutoRound's loss is not finite at {name_some(bad)}", remedy=OTHER_ROWS)
