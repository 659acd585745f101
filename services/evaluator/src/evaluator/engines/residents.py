"""Models in one device's memory: does it hold them, and what it means where an engine dies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evaluator.engines.sleeping import RESIDENTS, divide_memory
from lanekit.errors import InputError, LanekitError, PermanentError, TransientError
from lanekit.files.model_folder import measure_weights
from lanekit.host.gpu_holders import advise_on_holders, describe_holders, list_holders
from lanekit.host.gpu_query import read_memory_mib
from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams
from lanekit.spec.lane_engine import read_lane_engine

REMEDY = (
    "speed is measured of two models in turn: lower speed.batch_sizes or evaluation.max_model_len, raise "
    "evaluation.gpu_memory_utilization, free the GPU, or use one with more memory"
)
OTHERS = "end what else uses the GPU (nvidia-smi lists it), or lower evaluation.gpu_memory_utilization"


def fit_engine(spec: MeasureSpeedParams) -> EngineParams:
    """Return the engine's parameters for this measurement.

    As many sequences run at once as the largest batch has. Each model gets all of the GPU's memory that may
    be used where the two can take turns, else half of it; the baseline that is measured alone too: its
    conditions are those of all others.
    """
    share = divide_memory(spec.engine)
    batch_size = max(spec.batch_sizes)
    return spec.engine.model_copy(update={"batch_size": batch_size, "gpu_memory_utilization": share})


class ShortOfMemoryError(TransientError):
    """Less of the GPU's memory is free than an engine would take."""


def fit_candidate(spec: MeasureSpeedParams) -> EngineParams:
    """Return the parameters of the candidate's engine: the baseline's, with its lane's own arguments."""
    return read_lane_engine(spec).apply(fit_engine(spec))


def check_memory(folders: Sequence[Path], params: EngineParams, facts: Mapping[str, str]) -> None:
    """Refuse models whose weights alone, as they are stored, are larger than their share of the GPU.

    Raises:
        InputError: names the sizes.
    """
    mebibytes = facts.get("memory_total_mib", "")
    if not mebibytes.isdigit():
        return
    share_bytes = int(mebibytes) * 2**20 * params.gpu_memory_utilization
    for folder in folders:
        size_bytes = measure_weights(folder)
        if size_bytes > share_bytes:
            raise InputError(
                f"{folder}: its weights take {size_bytes / 2**30:.1f} GiB, and each of the two models has "
                f"{share_bytes / 2**30:.1f} GiB of {facts.get('name', 'the GPU')}",
                remedy=REMEDY,
            )


def check_free_memory(share: float, answer: str | None = None, apps: str | None = None) -> None:
    """Refuse to start an engine where less of the GPU's memory is free than it will take; name who holds it.

    Args:
        share: of the GPU's memory, from 0 to 1.
        answer: nvidia-smi's "total, free" in MiB; None asks it. Where it tells no numbers nothing is checked.
        apps: nvidia-smi's "pid, MiB" of each process on the GPU; None asks it.

    Raises:
        ShortOfMemoryError: other processes hold the memory; it may be free again later.
    """
    sizes = read_memory_mib(answer)
    if sizes is None:
        return
    total_mib, free_mib = sizes
    wanted_mib = share * total_mib
    if free_mib >= wanted_mib:
        return
    holders = list_holders(apps)
    raise ShortOfMemoryError(
        f"the engine takes {wanted_mib / 1024:.1f} GiB ({share:.0%}) of the GPU's {total_mib / 1024:.1f} "
        f"GiB, and {free_mib / 1024:.1f} GiB are free{describe_holders(holders)}",
        remedy=advise_on_holders(holders) or OTHERS,
    )


def check_room(pool_bytes: int, free_bytes: int, apps: str | None = None) -> None:
    """Refuse to wake an engine into less memory than it gave up: vLLM itself would not survive it.

    Args:
        apps: see `check_free_memory`.

    Raises:
        ShortOfMemoryError: something else took the memory meanwhile.
    """
    if free_bytes >= pool_bytes:
        return
    holders = list_holders(apps)
    raise ShortOfMemoryError(
        f"an engine that sleeps takes {pool_bytes / 2**30:.1f} GiB when it wakes, and "
        f"{free_bytes / 2**30:.1f} GiB of the GPU are free{describe_holders(holders)}",
        remedy=advise_on_holders(holders) or OTHERS,
    )


@contextmanager
def explain_dead_engine() -> Iterator[None]:
    """Say what it means that vLLM's engine process ended while it generated.

    Raises:
        TransientError: it did; most often for want of memory.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "EngineDeadError":
            raise
        raise TransientError(
            f"vLLM's engine died while it generated: {error}",
            remedy="the cause stands above in the stage's log; if memory was short: free the GPU, or lower "
            "evaluation.batch_size",
        ) from error


@contextmanager
def explain_failure(params: EngineParams, residents: int) -> Iterator[None]:
    """Say of a failure for want of memory that there were two models, and what helps.

    Raises:
        TransientError: the GPU's memory ran out.
        LanekitError: the engine did not start.
    """
    try:
        yield
    except InputError:
        raise
    except LanekitError as error:
        if error.transient or residents < RESIDENTS:
            raise
        share = f"{params.gpu_memory_utilization:.0%}"
        raise PermanentError(
            f"{error.message} (each of the two models had {share} of the device's memory)",
            remedy=f"{error.remedy}; if memory was short: {REMEDY}" if error.remedy else REMEDY,
        ) from error
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise TransientError(
            f"candidate and baseline do not fit on the GPU together: {error}", remedy=REMEDY
        ) from error
