"""What a model folder tells without its weights: the names of its files, and the text of the small ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.safetensors_header import INDEX_NAME, check_model_folder

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CHAT_TEMPLATE = "chat_template.jinja"
SMALL_FILES = (CONFIG, GENERATION_CONFIG, TOKENIZER_CONFIG, SPECIAL_TOKENS, CHAT_TEMPLATE, INDEX_NAME)
MAX_SMALL_BYTES = 16 << 20

_LICENCE_STEMS = ("license", "licence")


@dataclass(frozen=True)
class SmallFiles:
    """The files of a model, in a folder or on the hub, as far as they are looked at.

    Attributes:
        place: the folder, or the hub id with its revision; it stands before a file's name in messages.
        names: the files at the top, hidden ones left out.
        texts: the content of those of `SMALL_FILES` that are there, by name.
        shapes: the tensors' shapes by name; empty where they are not known.
        dtypes: the tensors' dtypes as safetensors names them; empty where they are not known.
        trouble: what is wrong with the weights' files.
    """

    place: str
    names: frozenset[str]
    texts: Mapping[str, bytes]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: frozenset[str] = frozenset()
    trouble: InputError | None = None

    def name_place(self, name: str, key: str = "") -> str:
        """Return a file's place, with the line of a key at its head where there is one."""
        text = self.texts.get(name, b"").decode("utf-8", errors="replace")
        found = re.search(rf'^.*?"{re.escape(key)}"\s*:', text, re.MULTILINE) if key else None
        line = f":{text.count(chr(10), 0, found.end()) + 1}" if found else ""
        return f"{self.place.rstrip('/')}/{name}{line}"

    def read_object(self, name: str) -> dict[str, Any]:
        """Return a JSON file's object; an empty one where the file is not there.

        Raises:
            ValueError: it is not UTF-8, not JSON, or no object; says which.
        """
        if name not in self.texts:
            return {}
        try:
            value = json.loads(self.texts[name].decode("utf-8"))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        except ValueError as error:
            raise ValueError(f"it is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        return value

    def peek_object(self, name: str) -> dict[str, Any]:
        """Return a JSON file's object; an empty one where it is not there or cannot be read."""
        try:
            return self.read_object(name)
        except ValueError:
            return {}

    @property
    def has_licence(self) -> bool:
        """Whether a licence is among the files that fetching a model brings along."""
        return any(
            name.startswith("LICENSE") or (name.lower().startswith(_LICENCE_STEMS) and name.endswith(".txt"))
            for name in self.names
        )


def read_small_files(folder: Path) -> SmallFiles:
    """Look at a model folder; of the weights the headers alone are read.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder",
            remedy="give a model's folder, or its id on the hub",
        )
    files = {p.name: p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    texts = {n: files[n].read_bytes() for n in SMALL_FILES if n in files and sizes[n] <= MAX_SMALL_BYTES}
    names = frozenset(name for name, size in sizes.items() if size)
    try:
        headers = check_model_folder(folder).headers.values()
    except InputError as error:
        return SmallFiles(str(folder), names, texts, trouble=error)
    tensors = {name: info for header in headers for name, info in header.tensors.items()}
    return SmallFiles(
        str(folder),
        names,
        texts,
        shapes={name: info.shape for name, info in tensors.items()},
        dtypes=frozenset(info.dtype for info in tensors.values()),
    )
