"""The package stage: only what loads a model, a licence, a rightful name, known sizes, the same zip twice."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from lanekit.errors import InputError
from lanekit.files.hashing import hash_file
from lanekit.progress import ignore_progress
from lanekit.spec.params import PackageParams
from ranker.package.zipping import write_zip
from ranker.stages.package import run

SPEC: dict[str, Any] = {
    "package_name": "EXAONE-4.0-1.2B-lane01",
    "lane": "lane01_gptq_w4a16",
    "base_model_name": "EXAONE-4.0-1.2B",
    "base_model_source": "LGAI-EXAONE/EXAONE-4.0-1.2B",
    "max_zip_bytes": 1_000_000,
    "max_unpacked_bytes": 1_000_000,
}
WANTED = {
    "LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json",
    "model.safetensors", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
Package = Callable[..., Path]


@pytest.fixture
def package(model_folder: Path, base_folder: Path, tmp_path: Path) -> Package:
    """Run the stage with changed parameters and return its output folder."""

    def call(name: str = "out", **changes: Any) -> Path:
        out = tmp_path / name
        inputs = {"model": model_folder, "base": base_folder}
        run(PackageParams(**{**SPEC, **changes}), inputs, out, ignore_progress)
        return out

    return call


def list_names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_package_holds_what_loads_the_model_and_nothing_else(package: Package, model_folder: Path) -> None:
    folder = package() / "package"
    assert list_names(folder) == WANTED
    for name in WANTED - {"README.md", "LICENSE"}:
        assert (folder / name).read_bytes() == (model_folder / name).read_bytes()


def test_the_zip_holds_the_same_files_and_unpacks_to_a_loadable_model(
    package: Package, tmp_path: Path
) -> None:
    out = package(zip_prefix="model/")
    with zipfile.ZipFile(out / "submit.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == sorted(f"model/{name}" for name in WANTED)
        for info in archive.infolist():
            stored = info.filename.endswith(".safetensors")
            assert info.compress_type == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert stat.S_IMODE(info.external_attr >> 16) == 0o644
        archive.extractall(tmp_path / "unzipped")
    tensors = load_file(tmp_path / "unzipped" / "model" / "model.safetensors")
    assert set(tensors) == {"model.embed_tokens.weight", "model.norm.weight"}


def test_the_zip_has_the_same_bytes_whenever_and_by_whomever_it_is_made(
    package: Package, model_folder: Path
) -> None:
    first = package("one")
    for path in model_folder.iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700)
    second = package("two")
    assert (first / "submit.zip").read_bytes() == (second / "submit.zip").read_bytes()
    assert (first / "package.json").read_bytes() == (second / "package.json").read_bytes()


def test_the_report_tells_sizes_and_hashes(package: Package) -> None:
    out = package()
    report = json.loads((out / "package.json").read_text(encoding="utf-8"))
    assert (report["package_name"], report["lane"]) == (SPEC["package_name"], SPEC["lane"])
    assert report["zip_bytes"] == (out / "submit.zip").stat().st_size
    files = {name: out / "package" / name for name in WANTED}
    assert report["unpacked_bytes"] == sum(path.stat().st_size for path in files.values())
    assert report["files"] == {
        name: {"size_bytes": path.stat().st_size, "sha256": hash_file(path)} for name, path in files.items()
    }


def test_limits_hold_to_the_byte(package: Package) -> None:
    report = json.loads((package() / "package.json").read_text(encoding="utf-8"))
    sizes = {"max_zip_bytes": report["zip_bytes"], "max_unpacked_bytes": report["unpacked_bytes"]}
    package("just", **sizes)
    for name, word in (("max_zip_bytes", "zipped"), ("max_unpacked_bytes", "unpacked")):
        with pytest.raises(InputError) as caught:
            package(name, **{**sizes, name: sizes[name] - 1})
        assert caught.value.message == (
            f"the package takes {sizes[name]} bytes {word}, 1 above the limit of {sizes[name] - 1}"
        )
        assert caught.value.remedy


def test_a_base_without_a_licence_is_refused(package: Package, base_folder: Path) -> None:
    (base_folder / "LICENSE").rename(base_folder / "NOTICE")
    with pytest.raises(InputError, match="no LICENSE file, and a package must carry one") as caught:
        package()
    assert "as LICENSE into the base model's folder" in caught.value.remedy


def test_the_models_own_licence_wins_and_notices_come_along(
    package: Package, model_folder: Path, base_folder: Path
) -> None:
    (base_folder / "NOTICE.txt").write_text("notice", encoding="utf-8")
    (base_folder / "LICENSE").write_text("base", encoding="utf-8")
    (model_folder / "LICENSE").write_text("own", encoding="utf-8")
    folder = package() / "package"
    assert list_names(folder) == WANTED | {"NOTICE.txt"}
    assert (folder / "LICENSE").read_text(encoding="utf-8") == "own"


@pytest.mark.parametrize("base", ["EXAONE-4.0-1.2B", "exaone-tiny", "LGAI-EXAONE/EXAONE-4.0-1.2B"])
def test_a_derivative_of_exaone_must_be_named_so(package: Package, base: str) -> None:
    for number, name in enumerate(("my-model", "exaone-lower", "My-EXAONE")):
        with pytest.raises(InputError, match="does not begin with EXAONE") as caught:
            package(f"bad{number}", base_model_name=base, package_name=name)
        assert f"call it EXAONE-{name}" in caught.value.remedy
    package("good", base_model_name=base, package_name="EXAONE-mine")


def test_other_bases_may_be_named_freely_but_safely(package: Package) -> None:
    package("free", base_model_name="tiny-synthetic", package_name="tiny-w4")
    for number, name in enumerate(("", "a/b", "../up", ".hidden", "a\\b")):
        with pytest.raises(InputError, match="cannot name a package"):
            package(f"unsafe{number}", base_model_name="tiny", package_name=name)


def test_a_tied_head_that_is_stored_is_refused(package: Package, model_folder: Path) -> None:
    weights = model_folder / "model.safetensors"
    tensors = {**load_file(weights), "lm_head.weight": np.ones((16, 8), np.float16)}
    save_file(tensors, weights)
    with pytest.raises(
        InputError, match=r"model\.safetensors: holds lm_head\.weight \(256 bytes\)"
    ) as caught:
        package()
    assert "tie_word_embeddings" in caught.value.remedy
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    (model_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    package("untied")


def test_damaged_or_missing_parts_are_refused(package: Package, model_folder: Path) -> None:
    weights = model_folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"model\.safetensors: truncated: 267 bytes of tensors"):
        package("truncated")
    weights.write_bytes(whole)
    (model_folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        package("mute")


def test_shards_that_the_index_does_not_name_stay_out(package: Package, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "model-00001-of-00001.safetensors")
    save_file({"old": np.ones(4)}, model_folder / "adapter_model.safetensors")
    names = ("model.embed_tokens.weight", "model.norm.weight")
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    found = list_names(package() / "package")
    sharded = {"model-00001-of-00001.safetensors", "model.safetensors.index.json"}
    assert found == (WANTED - {"model.safetensors"}) | sharded


def test_the_card_tells_name_base_lane_licence_and_how_to_load(package: Package) -> None:
    card = (package() / "package" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["base_model"] == "LGAI-EXAONE/EXAONE-4.0-1.2B"
    assert (meta["license"], meta["license_name"], meta["license_link"]) == ("other", "exaone", "LICENSE")
    for expected in (
        "# EXAONE-4.0-1.2B-lane01",
        "compressed by the lane `lane01_gptq_w4a16`",
        "compressed-tensors, 4-bit int weights group 128, bfloat16 elsewhere",
        "[`LICENSE`](LICENSE)",
        "non-commercial competitions",
        'LLM("EXAONE-4.0-1.2B-lane01")',
        'AutoModelForCausalLM.from_pretrained("EXAONE-4.0-1.2B-lane01"',
        "enable_thinking=False",
    ):
        assert expected in body


def test_a_package_in_modelopts_format_is_for_vllm_alone(package: Package, model_folder: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    section = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    (model_folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": section}), encoding="utf-8"
    )
    (model_folder / "hf_quant_config.json").write_text("{}", encoding="utf-8")
    folder = package() / "package"
    assert list_names(folder) == WANTED | {"hf_quant_config.json"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| Weight format | ModelOpt, FP8 per tensor, FP8 KV cache, bfloat16 elsewhere |" in card
    assert "does not read ModelOpt's format. The package asks vLLM for an FP8 KV cache by itself." in card
    assert 'LLM("EXAONE-4.0-1.2B-lane01")' in card and "AutoModelForCausalLM" not in card


def test_the_card_names_no_local_path_and_no_terms_of_another_licence(
    package: Package, base_folder: Path
) -> None:
    (base_folder / "LICENSE").write_text("Apache License 2.0", encoding="utf-8")
    source = {"base_model_source": str(base_folder), "base_model_name": "tiny", "package_name": "tiny-w4"}
    card = (package(**source) / "package" / "README.md").read_text(encoding="utf-8")
    assert str(base_folder) not in card
    assert "huggingface.co" not in card and "base_model:" not in card
    assert "non-commercial" not in card and "license_name: see-license-file" in card


@pytest.mark.parametrize("prefix", ["/abs", "../up", "a/../../b", "a\\b"])
def test_a_prefix_that_leaves_the_folder_is_refused(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is not a plain folder name"):
        write_zip(tmp_path / "folder", tmp_path / "x.zip", prefix)


def test_a_card_tells_the_engine_arguments_that_the_package_cannot_carry(package: Package) -> None:
    card = (package(engine_arguments={"kv_cache_dtype": "fp8"}) / "package" / "README.md").read_text()
    assert "| Needs engine arguments | `kv_cache_dtype=fp8` |" in card
    assert 'llm = LLM("EXAONE-4.0-1.2B-lane01", kv_cache_dtype="fp8")' in card
    assert "No package carries an engine argument" in card
    plain = (package("plain") / "package" / "README.md").read_text()
    assert "ngine argument" not in plain and 'llm = LLM("EXAONE-4.0-1.2B-lane01")' in plain
