"""Measure what looking at the weights costs: the check for NaN and infinity that every stage ends with.

Writes a safetensors file of random weights, in tensors of the shape of a real layer's, and lets the ways take
turns over it while the system's page cache holds it, as it does a file that was just written:
  check     find_bad_tensors, as the stages call it: the file read in parts of 1 MB, two maxima over each
  torch     safetensors' own reading and torch.isfinite(tensor).all(), tensor by tensor
  sha256    the hash of the file, which every artifact gets in any case
Prints markdown. The speed is that of memory, not of the weights' values.

Examples
  OMP_NUM_THREADS=1 python scripts/benchmarks/bench_weights_check.py
  python scripts/benchmarks/bench_weights_check.py --gigabytes 0.1 --rounds 2 --folder /dev/shm
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import measure
from lanekit.files.finite_weights import find_bad_tensors
from lanekit.files.hashing import hash_file
from lanekit.files.safetensors_header import ModelFolder, check_model_folder

ROWS, COLUMNS = 4096, 2048  # of a tensor
DTYPES = ("bfloat16", "float16", "float32")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = measure.make_parser(__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.5, help="of the file (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the file is written (default: the system's own)")
    return parser.parse_args()


def write_weights(folder: Path, gigabytes: float, dtype: str) -> ModelFolder:
    """Write a model folder of random weights."""
    import torch
    from safetensors.torch import save_file

    kind: torch.dtype = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(42)
    count = max(1, round(gigabytes * 1e9 / (ROWS * COLUMNS * kind.itemsize)))
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": torch.randn(ROWS, COLUMNS, generator=generator).to(kind)
        for i in range(count)
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return check_model_folder(folder)


def look_with_torch(model: ModelFolder) -> None:
    """Look at every tensor the plain way."""
    import torch
    from safetensors import safe_open

    for header in model.headers.values():
        with safe_open(header.path, framework="pt") as stored:
            for name in header.tensors:
                if not bool(torch.isfinite(stored.get_tensor(name)).all()):
                    raise RuntimeError(f"{name}: random weights are finite")


def main() -> None:
    """Let the ways take turns; the first round warms up and is not kept."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        model = write_weights(Path(name), args.gigabytes, args.dtype)
        path = next(iter(model.headers.values())).path
        size_gb = path.stat().st_size / 1e9

        def check() -> None:
            if find_bad_tensors(model):
                raise RuntimeError("random weights are finite")

        def hash_whole() -> None:
            hash_file(path)

        ways: dict[str, measure.Way] = {
            "check": check,
            "torch": lambda: look_with_torch(model),
            "sha256": hash_whole,
        }
        timings = measure.Timings()
        for number in range(args.rounds + 1):
            timings.run_round(number, ways)
    rows = []
    for way in ways:
        seconds = timings.seconds[way][1:]
        rates = [size_gb / value for value in seconds]
        rows.append([way, *measure.show_spread(seconds, ".2f"), *measure.show_spread(rates, ".2f")])
    machine = measure.describe_machine("numpy", "torch")
    print(f"{size_gb:.2f} GB of random {args.dtype}, {args.rounds} rounds. {machine}\n")
    print(measure.render_table(("way", "median s", "min to max", "median GB/s", "min to max"), rows))


if __name__ == "__main__":
    main()
