"""What is asked for, and what is known of it, as the checks take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lanekit.errors import InputError
from lanekit.files.small_files import SmallFiles
from lanekit.files.strict_yaml import KeyPath, YamlDocument
from lanekit.spec.calibration import CORPORA, find_spare_sources
from lanekit.spec.corpus_rows import FirstRows
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import Lane, LaneStage


@dataclass(frozen=True)
class Host:
    """Where the stages will run.

    Attributes:
        has_cuda: whether a GPU is there.
        gpu: its name, as nvidia-smi has it; "" where it is not known.
        vllm_builds: the builds of vLLM that are installed; None where the stages run elsewhere, in images.
        missing: libraries of the lock that are not installed.
        differing: libraries of another version than the lock's, as "torch 2.8.0 (lock: 2.9.1)".
        model_types: the text in which the installed transformers names its models' types; "" if unknown.
        tokenizers: the text in which it names its tokenizers' classes; "" if unknown.
        capability: the lowest compute capability of its GPUs, e.g. 89 for 8.9; None where it is not known.
    """

    has_cuda: bool
    vllm_builds: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    model_types: str = ""
    tokenizers: str = ""
    gpu: str = ""
    capability: int | None = None


@dataclass(frozen=True)
class DataLook:
    """What is known of a data set's source.

    Attributes:
        n_rows: None where they were not counted.
        error: why the source, or a row that may not be left out, cannot be used.
        first: what the corpus' first rows hold; None for a benchmark set, or where they were not read.
    """

    n_rows: int | None = None
    error: InputError | None = None
    first: FirstRows | None = None


@dataclass(frozen=True)
class Request:
    """One command's work.

    Attributes:
        experiment: the experiment, with the command's own sources.
        document: the experiment file, for the places of its values.
        lanes: the chains of stages; empty where a model is only evaluated or data is prepared.
        model: the small files of the model that every chain starts from; None where they are not known.
        is_base: whether that model is the experiment's base model.
        engine: the engine that evaluates; None where nothing is evaluated.
        engine_option: the option that named the engine; empty where the experiment file does.
        host: where the stages will run; None where that is not known.
        has_teacher: whether a model of its own teaches, so that the start may learn from it.
        reads_corpus: whether the corpus is prepared whatever the stages are.
        data: what is known of the data sets' sources, by set.
    """

    experiment: Experiment
    document: YamlDocument
    lanes: Sequence[Lane] = ()
    model: SmallFiles | None = None
    is_base: bool = True
    engine: EngineParams | None = None
    engine_option: str = ""
    host: Host | None = None
    has_teacher: bool = False
    reads_corpus: bool = False
    data: Mapping[str, DataLook] = field(default_factory=dict)

    def locate(self, *keys: str) -> str:
        """Return the place of a value in the experiment file."""
        place: KeyPath = keys
        line, column = self.document.locate(place)
        return f"{self.document.path}:{line}:{column}"

    def count_rows(self, name: str) -> int | None:
        """Return how many rows a data set's source has; None where that is not known."""
        return self.data[name].n_rows if name in self.data else None

    def list_stages(self) -> Iterator[LaneStage]:
        """Yield the stages of all lanes."""
        for lane in self.lanes:
            yield from lane.stages

    @property
    def corpora(self) -> frozenset[str]:
        """The sources of conversations that will be read."""
        spare = find_spare_sources(stage.params for stage in self.list_stages())
        return frozenset(CORPORA) - spare if self.needs_corpus else frozenset()

    @property
    def needs_benchmarks(self) -> bool:
        """Whether the benchmark sets will be prepared: to be asked, or to guard the corpus."""
        return self.engine is not None or self.needs_corpus

    @property
    def needs_corpus(self) -> bool:
        """Whether the corpus will be prepared."""
        if self.reads_corpus or any(s.type.needs_corpus(s.params) for s in self.list_stages()):
            return True
        return bool(self.lanes) and self.engine is not None and self.experiment.screen is not None
