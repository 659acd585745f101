"""What belongs in a package, and what it may be called. Reads folders, writes nothing."""

from __future__ import annotations

from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.hub_card import EXAONE_PREFIX, is_licence, is_licence_or_notice
from lanekit.files.safetensors_header import INDEX_NAME, ModelFolder

CONFIGURATION_FILES = (
    "config.json",
    "generation_config.json",
    "hf_quant_config.json",  # ModelOpt's
    INDEX_NAME,
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
ESSENTIAL_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def check_package_name(package_name: str, base_model_name: str) -> None:
    """Refuse a name that is no folder name, or that the EXAONE licence does not allow for a derivative.

    Raises:
        InputError: with the rule that it breaks.
    """
    if not package_name or package_name.startswith(".") or set(package_name) & set("/\\\0"):
        raise InputError(f"'{package_name}' cannot name a package", remedy="use letters, digits, . _ and -")
    base = base_model_name.rpartition("/")[2]
    derived = base.upper().startswith(EXAONE_PREFIX)
    if derived and not package_name.startswith(EXAONE_PREFIX):
        raise InputError(
            f"'{package_name}' does not begin with {EXAONE_PREFIX}, but it is made from {base_model_name}",
            remedy=f"the EXAONE licence asks for it: call it {EXAONE_PREFIX}-{package_name}",
        )


def choose_files(model: ModelFolder) -> dict[str, Path]:
    """Return the files needed to load a model, by name: an allow-list, so no report or pickle slips in.

    Raises:
        InputError: there is no tokenizer.
    """
    names = [*CONFIGURATION_FILES, *TOKENIZER_FILES, *model.headers]
    chosen = {name: model.path / name for name in names if (model.path / name).is_file()}
    templates = model.path / "additional_chat_templates"
    for path in sorted(templates.glob("*.jinja")) if templates.is_dir() else ():
        chosen[path.relative_to(model.path).as_posix()] = path
    if not any(name in chosen for name in ESSENTIAL_TOKENIZER_FILES):
        raise InputError(
            f"{model.path}: no tokenizer ({', '.join(ESSENTIAL_TOKENIZER_FILES)})",
            remedy="save the tokenizer beside the model: a package must load by itself",
        )
    return chosen


def find_licences(model: Path, base: Path) -> list[Path]:
    """Return the licence and notice files of both models; the model's own win where names are equal.

    Raises:
        InputError: neither has a LICENSE file.
    """
    found = {
        path.name: path
        for folder in (base, model)
        for path in sorted(folder.iterdir())
        if path.is_file() and is_licence_or_notice(path.name)
    }
    if any(map(is_licence, found)):
        return [found[name] for name in sorted(found)]
    raise InputError(
        f"{base}: the base model has no LICENSE file, and a package must carry one",
        remedy="put the model's licence text as LICENSE into the base model's folder, then run again",
    )
