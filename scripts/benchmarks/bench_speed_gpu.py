"""Run the real speed measurement on models of the real size, with random weights; prints its metrics as JSON.

Nothing is downloaded: the baseline has EXAONE-4.0-1.2B's shape, the candidate fewer layers of it, and the
prompts are the synthetic suite's. Random weights rarely end a reply, so the free-running form mostly runs to
its limit. Needs torch and transformers alone, no vLLM.

Examples
  python scripts/benchmarks/bench_speed_gpu.py --output /tmp/speed.json
  python scripts/benchmarks/bench_speed_gpu.py --tiny --device cpu --repeats 1
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Nothing needs to be installed of the project itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared" / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "services" / "evaluator" / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import measure
from benchmarks.real_size.inputs import REAL, TINY, build_model
from benchmarks.suite import load_benchmarks, write_suite
from evaluator.stages import measure_speed
from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams
from lanekit.spec.params import DeviceChoice


def make_spec(args: argparse.Namespace, device: DeviceChoice) -> MeasureSpeedParams:
    """Return the measurement's parameters; replies that run free are cut at `--free-tokens`."""
    limit = {"max_new_tokens": args.free_tokens}
    return MeasureSpeedParams(
        engine=EngineParams(engine="transformers", device=device, max_model_len=args.max_model_len),
        benchmarks=tuple(benchmark.model_copy(update=limit) for benchmark in load_benchmarks()),
        batch_sizes=tuple(args.batch_sizes),
        prompt_tokens=args.prompt_tokens,
        decode_tokens=args.decode_tokens,
        prefill_tokens=args.prefill_tokens,
        free_items=args.free_items,
        benchmark_items=0,
        min_repeats=args.repeats,
        budget_s=0,
        warmups=1,
        score_form=f"decode_b{args.batch_sizes[len(args.batch_sizes) // 2]}",
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = measure.make_parser(__doc__)
    parser.add_argument("--tiny", action="store_true", help="small models, to try the script itself")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--layers", type=int, default=30, help="the baseline's layers (default: 30)")
    parser.add_argument("--keep-layers", type=int, default=26, help="the candidate's layers (default: 26)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], metavar="N")
    parser.add_argument("--prompt-tokens", type=int, default=512, metavar="N")
    parser.add_argument("--decode-tokens", type=int, default=128, metavar="N")
    parser.add_argument("--prefill-tokens", type=int, default=1024, metavar="N")
    parser.add_argument("--free-items", type=int, default=48, metavar="N")
    parser.add_argument("--free-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--max-model-len", type=int, default=4096, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON here as well")
    return parser.parse_args()


def main() -> None:
    """Build the models and the suite, measure, print metrics, warnings and where the time went."""
    args = parse_arguments()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sizes = TINY if args.tiny else REAL
        models = {
            role: build_model(work / role, sizes, layers, args.device, seed)
            for seed, (role, layers) in enumerate((("baseline", args.layers), ("model", args.keep_layers)))
        }
        suite, out = work / "suite", work / "out"
        out.mkdir()
        write_suite(suite)
        built = time.perf_counter()
        measure_speed.run(make_spec(args, args.device), {**models, "suite": suite}, out, _show_progress)
        report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
        result = {
            "machine": measure.describe_machine("torch", "transformers"),
            "metrics": json.loads((out / "metrics.json").read_text(encoding="utf-8")),
            **{name: report[name] for name in ("warnings", "notes", "spread")},
            "build_seconds": built - started,
            "measure_seconds": time.perf_counter() - built,
        }
    measure.write_json(args.output, result)
    print(json.dumps(result, indent=2, ensure_ascii=False))


def _show_progress(step: int, total: int, message: str = "") -> None:
    print(f"{step}/{total} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
