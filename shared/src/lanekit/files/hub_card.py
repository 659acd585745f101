"""What a model hub reads of a model's folder: the card's metadata, and the licence that they name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_LICENCE_STEMS = ("license", "licence", "notice")
EXAONE_LICENCE = "exaone ai model license"
EXAONE_PREFIX = "EXAONE"  # its licence: a derivative's name begins so
EXAONE_NAME = "exaone"  # as `license_name` of the base model's own card has it
_FENCE = "---"


def list_licences(names: Iterable[str]) -> list[str]:
    """Return the names of licence and notice files, the licences first."""
    found = sorted(filter(is_licence_or_notice, names))
    return sorted(found, key=is_licence, reverse=True)


def is_licence_or_notice(name: str) -> bool:
    """Whether a file of this name goes with every copy of a model."""
    return name.lower().startswith(_LICENCE_STEMS)


def is_licence(name: str) -> bool:
    """Whether a file of `list_licences` is a licence and not only a notice."""
    return not name.lower().startswith("notice")


def is_exaone_licence(texts: Iterable[str]) -> bool:
    """Whether one of the licences is EXAONE's (EXAONE AI Model License Agreement 1.2 - NC, and its like)."""
    return any(EXAONE_LICENCE in " ".join(text.lower().split()) for text in texts)


def render_metadata(licences: Mapping[str, str], hub_id: str | None, config: Mapping[str, Any]) -> str:
    """Return a card's metadata with their fences.

    Args:
        licences: texts of the licence files by name; the first is linked to.
        hub_id: the base model on the hub; None for a local one, whose path is nobody's business.
        config: the model's config.json.
    """
    front = ["license: other"]
    front += [f"license_name: {EXAONE_NAME if is_exaone_licence(licences.values()) else 'see-license-file'}"]
    front += [f"license_link: {next(iter(licences))}"]
    if hub_id:
        relation = "quantized" if "quantization_config" in config else "finetune"
        front += [f"base_model: {hub_id}", f"base_model_relation: {relation}"]
    front += ["language:", "- ko", "- en", "pipeline_tag: text-generation", "library_name: transformers"]
    return "\n".join([_FENCE, *front, _FENCE]) + "\n"


def read_metadata(card: str) -> dict[str, Any] | None:
    """Return a card's metadata; None where it has none that can be read."""
    head, _, rest = card.partition("\n")
    front, fence, _ = rest.partition(f"\n{_FENCE}")
    if head.strip() != _FENCE or not fence:
        return None
    try:
        found = yaml.safe_load(front)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None
