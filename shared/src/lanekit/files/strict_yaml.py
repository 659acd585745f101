"""Strict YAML reading: duplicate keys are refused and every value knows its line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from lanekit.errors import InputError

Location = tuple[int, int]
KeyPath = tuple[str | int, ...]
ProblemKind = Literal["missing", "other"]

# YAML 1.1 reads 010 as 8 and 1:30 as 90: nobody who counts steps means that.
_SURPRISING_NUMBER = re.compile(r"^[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MAX_VALUES = 100_000  # aliases of aliases can unfold a few lines into more values than memory holds


@dataclass(frozen=True)
class FileProblem:
    """One thing wrong with an input file; line and column count from 1."""

    path: Path
    line: int
    column: int
    message: str
    kind: ProblemKind = "other"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"


class InputProblems(InputError):
    """All problems of the files that were read, reported at once."""

    def __init__(self, problems: list[FileProblem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (str(p.path), p.line, p.column))
        super().__init__("\n".join(str(p) for p in self.problems))


@dataclass
class YamlDocument:
    """Parsed data with the place of every key and item."""

    path: Path
    data: Any
    locations: dict[KeyPath, Location] = field(default_factory=dict)

    def locate(self, key_path: KeyPath) -> Location:
        """Return the place of the deepest known prefix of `key_path`."""
        for end in range(len(key_path), -1, -1):
            if key_path[:end] in self.locations:
                return self.locations[key_path[:end]]
        return (1, 1)

    def problem(self, key_path: KeyPath, message: str, kind: ProblemKind = "other") -> FileProblem:
        """Make a problem that points at `key_path`."""
        line, column = self.locate(key_path)
        return FileProblem(self.path, line, column, message, kind)


def read_yaml(path: Path) -> YamlDocument:
    """Read one YAML file.

    Raises:
        InputProblems: the file is missing, is not UTF-8, is not YAML, is empty, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputProblems([FileProblem(path, 1, 1, f"cannot be read: {error}")]) from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> YamlDocument:
    """Parse YAML text as `read_yaml` does; `path` names it in errors."""
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"not valid YAML: {error.problem or error}"
        raise InputProblems([FileProblem(path, line, column, message)]) from error
    except (yaml.YAMLError, ValueError) as error:  # e.g. a control character: no mark
        raise InputProblems([FileProblem(path, 1, 1, f"not valid YAML: {error}")]) from error
    except RecursionError as error:
        raise InputProblems([FileProblem(path, 1, 1, "nested too deeply")]) from error
    if node is None:
        raise InputProblems([FileProblem(path, 1, 1, "the file is empty")])
    document = YamlDocument(path, None)
    problems: list[FileProblem] = []
    try:
        document.data = _convert(yaml.SafeLoader(""), node, (), document, problems, frozenset())
    except RecursionError as error:
        raise InputProblems([FileProblem(path, 1, 1, "nested too deeply")]) from error
    if problems:
        raise InputProblems(problems)
    return document


@lru_cache(maxsize=64)  # whoever plans again and again reads the same files; nobody changes a node
def _compose(text: str) -> yaml.Node | None:
    return yaml.SafeLoader(text).get_single_node()


def _convert(
    loader: yaml.SafeLoader,
    node: yaml.Node,
    key_path: KeyPath,
    document: YamlDocument,
    problems: list[FileProblem],
    above: frozenset[int],
) -> Any:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    document.locations.setdefault(key_path, (line, column))
    if len(document.locations) > MAX_VALUES:
        message = f"more than {MAX_VALUES} values once its aliases are unfolded"
        raise InputProblems([FileProblem(document.path, line, column, message)])

    def report(at: yaml.Node, message: str) -> None:
        mark = at.start_mark
        problems.append(FileProblem(document.path, mark.line + 1, mark.column + 1, message))

    if id(node) in above:
        report(node, "an alias refers to the mapping or list that contains it")
        return None
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                report(key_node, "a key must be a plain word")
                continue
            key = str(key_node.value)
            if key in first_lines:
                report(key_node, f"duplicate key '{key}' (first on line {first_lines[key]})")
                continue
            first_lines[key] = key_node.start_mark.line + 1
            child = (*key_path, key)
            mark = key_node.start_mark
            document.locations[child] = (mark.line + 1, mark.column + 1)
            result[key] = _convert(loader, value_node, child, document, problems, above)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(loader, item, (*key_path, index), document, problems, above)
            for index, item in enumerate(node.value)
        ]
    if node.tag in _NUMBER_TAGS and _SURPRISING_NUMBER.match(node.value):
        report(node, f"'{node.value}' is a number in base 8 or 60 to YAML: write it in base 10, or quote it")
        return None
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError) as error:
        # the last two: PyYAML's own slips on a forced tag, e.g. `!!bool maybe` or `!!timestamp soon`
        detail = getattr(error, "problem", None) or error
        report(node, f"cannot read '{node.value}' as {node.tag.rpartition(':')[2]}: {detail}")
        return None
