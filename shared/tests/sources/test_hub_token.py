"""Tokens as they are pasted, and names that the hub's library refuses: no network fault."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import HfApi

from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.sources.hub import check_token, explain_hub_error
from lanekit.sources.resolve import ask_hub


@pytest.mark.parametrize("token", ["hf_good", "hf_good\n", " hf_good ", ""])
def test_a_token_is_taken_without_what_pasting_adds(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    check_token()


@pytest.mark.parametrize(
    ("token", "character"),
    [("hf_“good”", "U+201C"), ("hf_good\u200b", "U+200B"), ("hf_go od", "U+0020"), ("토큰", "U+D1A0")],
)
def test_a_token_with_odd_characters_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, token: str, character: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(HfApi, "repo_info", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(InputError, match=r"HF_TOKEN .*holds characters that no token has") as caught:
        ask_hub("LGAI-EXAONE/KMMLU-Pro", "main", "dataset")
    assert character in caught.value.message and "settings/tokens" in caught.value.remedy
    assert token not in str(caught.value) and "good" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("HFValidationError", InputError, "not a hub id"),
        ("InvalidURL", InputError, "the hub's address is none"),
        ("ConnectionError", TransientError, "could not be asked"),
    ],
)
def test_only_what_the_network_did_may_pass(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[LanekitError], words: str
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    from huggingface_hub import errors

    fault: Any = getattr(errors, name, None) or type(name, (OSError, ValueError), {})
    found = explain_hub_error(fault("odd"), "a/b", "model", "main")
    assert type(found) is kind and words in found.message and found.remedy
