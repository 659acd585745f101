"""What the commands in scripts/ share: options, a session, and errors a person can act on."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from lanekit.commands.preflight import Asked, Inputs, check_inputs, look_at_host
from lanekit.commands.session import Session
from lanekit.commands.streams import drop_output, make_streams_lenient
from lanekit.errors import InputError, PermanentError
from lanekit.execute.driver import hold_store
from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.files.strict_yaml import read_yaml
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import detect_cuda, list_devices, name_hardware
from lanekit.host.failures import explain_unexpected, hide_secrets, keep_traceback
from lanekit.host.settings import load_host_settings
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.graph import Plan, StageRun
from lanekit.progress import Progress
from lanekit.sources.locks import load_lock_digests
from lanekit.sources.resolve import resolve_sources
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.stages import STAGE_TYPES
from lanekit.store.base import is_committed
from lanekit.store.folder import FolderStore

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_BY_SIGNAL = 128  # and the signal's number, as a shell tells it: 130 for Ctrl-C
PLAIN_WIDTH = 120


def make_parser(doc: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser whose help begins with the script's docstring, with the shared options."""
    settings = load_host_settings()
    parser = argparse.ArgumentParser(
        description=doc, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = find_project_root()
    group = parser.add_argument_group("shared options (defaults come from LANEKIT_* variables)")
    group.add_argument(
        "--experiment", type=Path, default=root / "lanes" / "experiment.yaml",
        help="experiment file (default: lanes/experiment.yaml; experiment.demo.yaml is the small one)",
    )  # fmt: skip
    group.add_argument(
        "--store", type=read_folder, default=settings.store, help="artifact store (default: %(default)s)"
    )
    group.add_argument(
        "--results", type=read_folder, default=settings.results,
        help="folder of the tables (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--engine", choices=("vllm", "transformers"), default=settings.engine,
        help="evaluation engine (default: the experiment's; its 'auto' is vllm where CUDA is)",
    )  # fmt: skip
    group.add_argument(
        "--slots", type=int, default=settings.slots, metavar="N",
        help="stages at once (default: 1 with a GPU, else up to 2)",
    )  # fmt: skip
    return parser


def read_folder(text: str) -> Path:
    """Return a folder that an option names.

    Raises:
        argparse.ArgumentTypeError: it is empty, which would be the working folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; the working folder is '.'")
    return Path(text)


class Stopped(KeyboardInterrupt):
    """A signal that asks for the end came; treated as Ctrl-C is."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = int(number)


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does; what `nohup` has ignored stays ignored.

    The first one counts: another that came while the stages are ended would leave some of them running.
    """
    heeded = [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]

    def stop(number: int, _frame: object) -> None:
        for other in heeded:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    def rescue(caught: sys.UnraisableHookArgs) -> None:
        """Send a signal again whose exception rose in a finalizer: Python drops it there."""
        if not isinstance(caught.exc_value, Stopped):
            sys.__unraisablehook__(caught)
            return
        again = caught.exc_value.number
        for number in heeded:
            signal.signal(number, stop)
        threading.Timer(0.05, os.kill, (os.getpid(), again)).start()  # not from here: it would be dropped too

    sys.unraisablehook = rescue
    for number in heeded:
        signal.signal(number, stop)


def tell_exit_code(stopped: KeyboardInterrupt) -> int:
    """Return the exit code of a command that a signal ended, as a shell tells it."""
    return EXIT_BY_SIGNAL + (stopped.number if isinstance(stopped, Stopped) else signal.SIGINT)


def run_main(main: Callable[[], int | None]) -> None:
    """Run a command; print errors without a traceback and exit with a telling code."""
    make_streams_lenient()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    heed_signals()
    console = Console(stderr=True)
    try:
        sys.exit(main() or 0)
    except KeyboardInterrupt as error:
        with suppress(OSError):  # after SIGHUP there is no terminal to tell it to
            console.print("stopped: what is committed is kept, the same command goes on from there")
        sys.exit(tell_exit_code(error))
    except BrokenPipeError:
        drop_output()
        sys.exit(EXIT_BY_SIGNAL + signal.SIGPIPE)
    except Exception as error:  # the boundary: no traceback reaches a user
        sys.exit(_tell_error(console, error))


def _tell_error(console: Console, error: Exception) -> int:
    """Print an error and return the exit code."""
    known = explain_unexpected(error)
    text = f"error: {hide_secrets(str(known))}"
    if known is not error and type(known) is PermanentError:
        kept = keep_traceback(error)
        text += f"; its traceback: {kept}" if kept else ""
    with suppress(OSError):
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    return EXIT_BAD_INPUT if isinstance(known, InputError) else EXIT_FAILED


def make_console() -> Console:
    """Return the output console; one that is not a terminal is wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, PLAIN_WIDTH))


def prepare_inputs(args: argparse.Namespace, inputs: Inputs, asked: Asked) -> Experiment:
    """Run the preflight on this machine, and return the experiment with its sources resolved.

    Raises:
        PreflightError: with all that stands in the way of the first stage.
        LanekitError: a source cannot be read, or the hub cannot be asked.
    """
    if asked.engine is not None and args.engine:
        asked = replace(asked, engine_option=f"--engine {args.engine}")
    check_inputs(inputs, replace(asked, host=look_at_host()))
    return resolve_sources(inputs.experiment, asked.parts, inputs.revisions, asked.lanes)


def choose_engine(args: argparse.Namespace, experiment: Experiment) -> EngineParams:
    """Return the engine that evaluates on this machine."""
    return plan_engine(experiment, detect_cuda, args.engine)


@contextmanager
def open_session(args: argparse.Namespace, experiment: Experiment) -> Iterator[Session]:
    """Hold the store and give a session whose stages run in warm child processes."""
    with hold_session(make_looking_session(args, experiment)) as session:
        yield session


@contextmanager
def hold_session(session: Session) -> Iterator[Session]:
    """Hold the store of a session that only looks, and give it again with children that run stages."""
    with hold_store(session.store):
        pool = ChildPool(session.store.root / "logs", make_child_environment())
        try:
            yield replace(session, call=pool)
        finally:
            pool.close()


def make_looking_session(args: argparse.Namespace, experiment: Experiment) -> Session:
    """Return a session that reads the store and can run nothing: it writes nothing and takes no lock."""
    return Session(
        experiment=experiment,
        store=FolderStore(args.store),
        call=_refuse_to_run,
        engine=choose_engine(args, experiment),
        lock_digests=load_lock_digests(find_project_root()),
        console=make_console(),
        slots=load_host_settings(slots=args.slots).count_slots(),
        hardware=name_hardware(list_devices()),
    )


def _refuse_to_run(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> NoReturn:
    raise PermanentError(f"{run.name}: this session only looks", remedy="report this as a bug")


def describe_plan(plan: Plan, session: Session) -> str:
    """Return the line that says what the lanes ask for and what there is to do."""
    committed = sum(is_committed(session.store, run) for run in plan.runs.values())
    return (
        f"{len(plan.lanes)} lanes ask for {plan.count_asked()} stage runs, {len(plan.runs)} of them "
        f"distinct; {committed} are committed already. Engine: {session.engine.engine}, "
        f"{session.slots} at once, store: {session.store.root}"
    )


def read_stage_defaults(args: argparse.Namespace, stage: str) -> dict[str, Any]:
    """Return the experiment's parameters of a stage, with its seed."""
    data = read_yaml(args.experiment).data
    seed = {"seed": data.get("seed", 42)} if STAGE_TYPES[stage].is_seeded else {}
    return {**seed, **(data.get("stage_defaults") or {}).get(stage, {})}
