"""The base model's small files: what the pinned libraries would misread or refuse, found before the work."""

from __future__ import annotations

import json
from typing import Any

import pytest
from preflight_bench import Bench

from lanekit.commands.preflight import look_at_host, read_inputs
from lanekit.files.small_files import SMALL_FILES, SmallFiles
from lanekit.plan.preflight.base_config import split_rope
from lanekit.plan.preflight.checks import find_faults
from lanekit.plan.preflight.request import Host, Request
from lanekit.spec.evaluation import EngineParams

LLAMA3 = {
    "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
    "original_max_position_embeddings": 512, "rope_type": "llama3",
}  # fmt: skip
HERE = look_at_host()
with_transformers = pytest.mark.skipif(not HERE.model_types, reason="transformers is not installed")
ENGINE = EngineParams(engine="transformers")


def test_rope_settings_that_only_transformers_5_reads(bench: Bench) -> None:
    rope = {**LLAMA3, "rope_theta": 1000000.0}
    bench.change_json(
        "config.json", rope_parameters=rope, rope_theta=None, rope_scaling=None, transformers_version="5.2.0"
    )
    newer, fault = bench.collect()
    assert newer.level == "warning" and "written by transformers 5.2.0" in newer.message
    assert fault.level == "fault" and fault.where.startswith(f"{bench.model}/config.json:")
    assert 'it would take "rope_theta": 10000.0, "rope_scaling": null' in fault.message
    fields = json.loads("{" + fault.remedy.partition(": ")[2] + "}")
    assert fields == {"rope_theta": 1000000.0, "rope_scaling": LLAMA3}
    bench.change_json("config.json", **fields)  # what the remedy says is enough
    assert [finding.level for finding in bench.collect()] == ["warning"]


def test_rope_settings_by_layer_type_have_no_equal(bench: Bench) -> None:
    bench.change_json("config.json", rope_parameters={"full_attention": LLAMA3})
    (text,) = bench.list_texts()
    assert "its form has no equal there" in text


@pytest.mark.parametrize(
    ("rope", "fields"),
    [
        ({"rope_type": "default", "rope_theta": 5.0}, {"rope_theta": 5.0, "rope_scaling": None}),
        ({}, {"rope_theta": 10_000.0, "rope_scaling": None}),
        (LLAMA3, {"rope_theta": 10_000.0, "rope_scaling": LLAMA3}),
        ({"partial_rotary_factor": 0.5}, {"rope_theta": 10_000.0, "partial_rotary_factor": 0.5,
                                          "rope_scaling": None}),
    ],
)  # fmt: skip
def test_rope_settings_in_the_older_form(rope: dict[str, Any], fields: dict[str, Any]) -> None:
    assert split_rope(rope) == fields


def test_rope_settings_that_stand_in_both_forms(bench: Bench) -> None:
    bench.change_json("config.json", rope_parameters={**LLAMA3, "rope_theta": 1000000.0})
    assert bench.collect() == []
    bench.change_json("config.json", rope_parameters={**LLAMA3, "factor": 8.0, "rope_theta": 1000000.0})
    assert len(bench.collect()) == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"dtype": "torch.bfloat16"}, 'dtype is "torch.bfloat16"; known: bfloat16, float16, float32'),
        ({"dtype": None, "torch_dtype": "bf16"}, 'torch_dtype is "bf16"'),
        ({"torch_dtype": "float32"}, "dtype is bfloat16, torch_dtype float32: they are one setting"),
        ({"dtype": "float32"}, "the weights are stored as BF16, but config.json says dtype: float32"),
        ({"model_type": None}, "'model_type' is missing or no text"),
        ({"architectures": ["Exaone4Model"]}, "is no language model that continues text"),
        ({"num_hidden_layers": "30"}, "'num_hidden_layers' is \"30\"; a positive whole number is needed"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"layer_types": ["full_attention"]}, "'layer_types' names 1 layers, num_hidden_layers is 30"),
        ({"quantization_config": {}}, "the base model is quantized already"),
        ({"eos_token_id": "361"}, 'eos_token_id is "361"; a token\'s number'),
        ({"eos_token_id": [361, True]}, "eos_token_id is [361, true]"),
    ],
)  # fmt: skip
def test_configs(bench: Bench, values: dict[str, Any], expected: str) -> None:
    bench.change_json("config.json", **values)
    texts = bench.list_texts()
    assert any(text.startswith("model/config.json") and expected in text for text in texts), texts


@pytest.mark.parametrize("values", [{"dtype": None, "torch_dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}])
def test_both_names_of_the_dtype_are_read(bench: Bench, values: dict[str, Any]) -> None:
    bench.change_json("config.json", **values)
    assert bench.collect() == []


@with_transformers
def test_what_the_installed_library_does_not_know(bench: Bench) -> None:
    assert bench.collect(HERE) == []
    bench.change_json("config.json", model_type="exaone5")
    bench.change_json("tokenizer_config.json", tokenizer_class="ExaoneNewTokenizer")
    kind, tokenizer = bench.list_texts(HERE)
    assert "model_type 'exaone5' is not known to the pinned transformers" in kind
    assert 'the tokenizer\'s class "ExaoneNewTokenizer" is not known' in tokenizer


@with_transformers
@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "GPT2Tokenizer", "LlamaTokenizerFast", None])
def test_tokenizers_that_are_known(bench: Bench, name: str | None) -> None:
    bench.change_json("tokenizer_config.json", tokenizer_class=name)
    assert bench.collect(HERE) == []


@pytest.mark.parametrize("host", [pytest.param(HERE, marks=with_transformers), Host(has_cuda=False)])
def test_a_tokenizer_that_transformers_5_saved(bench: Bench, host: Host) -> None:
    bench.change_json("tokenizer_config.json", tokenizer_class="TokenizersBackend", backend="tokenizers")
    (finding,) = bench.collect(host)
    assert finding.where.startswith(f"{bench.model}/tokenizer_config.json:")
    assert "TokenizersBackend" in finding.message and "transformers 4.57" in finding.message
    assert '"tokenizer_class": "PreTrainedTokenizerFast"' in finding.remedy


@pytest.mark.parametrize("name", ["extra_special_tokens", "added_tokens_decoder"])
def test_tokens_as_a_list_where_a_mapping_is_read(bench: Bench, name: str) -> None:
    bench.change_json("tokenizer_config.json", **{name: ["[|tool|]"]})
    (text,) = bench.list_texts()
    assert f"'{name}' is a list; transformers 4.57 reads a mapping there" in text


def test_tokens_that_training_needs(bench: Bench) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        bench.change_json(name, pad_token=None)
    assert bench.collect() == []  # quantization pads nothing
    bench.write_lane("lane20_x", "sft")
    (text,) = bench.list_texts()
    assert "the tokenizer has no pad_token" in text


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("config.json", "{", "config.json: it is not valid JSON"),
        ("config.json", "[]", "config.json: it is not a JSON object"),
        ("config.json", "\xff", "config.json: it is not valid JSON"),
        ("config.json", None, "config.json: no such file, or nothing in it"),
        ("generation_config.json", "{", "generation_config.json: it is not valid JSON"),
        ("tokenizer_config.json", "{", "tokenizer_config.json: it is not valid JSON"),
        ("tokenizer_config.json", None, "tokenizer_config.json: no such file, or nothing in it"),
        ("tokenizer.json", None, "model: no tokenizer (tokenizer.json, tokenizer.model, vocab.json)"),
        ("chat_template.jinja", None, "tokenizer_config.json: the tokenizer has no chat template"),
        ("LICENSE", None, "model: the base model has no LICENSE file, and a package must carry one"),
        ("LICENSE", "", "model: the base model has no LICENSE file, and a package must carry one"),
        ("model.safetensors", None, "no *.safetensors file"),
        ("model.safetensors", "short", "truncated"),
    ],
)  # fmt: skip
def test_files_that_are_missing_or_no_files_of_their_kind(
    bench: Bench, name: str, content: str | None, expected: str
) -> None:
    path = bench.model / name
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    texts = bench.list_texts()
    assert any(expected in text for text in texts), texts
    assert all(finding.remedy for finding in bench.collect())


@pytest.mark.parametrize(
    ("name", "is_licence"),
    [("LICENSE.md", True), ("LICENSE-EXAONE", True), ("licence.txt", True), ("NOTICE", False),
     ("Licence.pdf", False)],
)  # fmt: skip
def test_what_counts_as_a_licence_is_what_fetching_brings_along(
    bench: Bench, name: str, is_licence: bool
) -> None:
    (bench.model / "LICENSE").rename(bench.model / name)
    assert (bench.collect() == []) is is_licence


def test_a_generation_config_that_transformers_does_not_write_again_is_no_fault(bench: Bench) -> None:
    bench.change_json("generation_config.json", temperature=0.6, top_p=0.95)
    assert bench.collect() == []


@pytest.mark.parametrize(
    ("template", "level", "expected"),
    [
        ("{% for m in messages %}{{ m.content }}", "fault", "the chat template cannot be read: line 1"),
        ("{{ messages[0].nothing.more }}", "fault", "a question: UndefinedError"),
        ("{{ raise_exception('no chat') }}", "fault", "a question: TemplateError: no chat"),
        ("{{ messages[0].content }}", "fault", "a second question: the rendered text lacks the message"),
        ("a constant", "fault", "a question: the rendered text lacks the message"),
        ("{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
         "{{ m.content }}{% endfor %}", "warning", "no place for a system message: TemplateError: no system"),
        ("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}",
         "warning", "no place for a system message: the rendered text lacks the message"),
        ("", "fault", "the tokenizer has no chat template"),
    ],
)  # fmt: skip
def test_chat_templates_are_tried(bench: Bench, template: str, level: str, expected: str) -> None:
    (bench.model / "chat_template.jinja").write_text(template, encoding="utf-8")
    (finding,) = bench.collect()
    assert finding.level == level and expected in finding.message and finding.remedy


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{{ strftime_now('%Y') }}{% for m in messages %}{{ m | tojson(indent=2) }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% if loop.last %}{% break %}{% endif %}{% endfor %}",
    ],
)
def test_what_transformers_gives_a_template_is_there(bench: Bench, template: str) -> None:
    (bench.model / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert bench.collect() == []


def test_a_template_in_the_tokenizers_config(bench: Bench) -> None:
    text = (bench.model / "chat_template.jinja").read_text(encoding="utf-8")
    (bench.model / "chat_template.jinja").unlink()
    for given in (text, [{"name": "tool", "template": "x"}, {"name": "default", "template": text}]):
        bench.change_json("tokenizer_config.json", chat_template=given)
        assert bench.collect() == []
    bench.change_json("tokenizer_config.json", chat_template=[{"name": "tool", "template": text}])
    (found,) = bench.list_texts()
    assert "the tokenizer has no chat template" in found


def test_all_findings_come_at_once_each_with_its_remedy(bench: Bench) -> None:
    (bench.model / "LICENSE").unlink()
    bench.change_json("tokenizer_config.json", tokenizer_class="TokenizersBackend")
    bench.change(lambda s: s["speed"].update(decode_tokens=5000))
    bench.write_lane("lane20_x", "distill")
    bench.write_lane("lane21_x", "sft: {steps: yes}")
    texts = bench.list_texts()
    assert len(texts) == 5
    places = [text.split(": ")[0].partition(":")[0] for text in texts]
    assert places == [
        "lanes/lane21_x.yaml", "model", "model/tokenizer_config.json", "lanes/lane20_x.yaml",
        "lanes/experiment.yaml",
    ]  # fmt: skip
    assert all(finding.remedy for finding in bench.collect())


ODD_VALUES: list[Any] = ["x", -1, 10**400, float("inf"), True, [], [[]], {}, {"a": {"b": []}}, [{"name": []}]]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_no_odd_value_ends_the_preflight(bench: Bench, name: str) -> None:
    content = json.loads((bench.model / name).read_text(encoding="utf-8"))
    texts = {
        file: (bench.model / file).read_bytes() for file in SMALL_FILES if (bench.model / file).is_file()
    }
    bench.write_lane("lane20_x", "sft", "prune: {keep_layers: 28}", "gptq: {scheme: W4A16}")
    inputs = read_inputs(bench.experiment)
    extra = ("rope_parameters", "torch_dtype", "quantization_config", "chat_template", "added_tokens_decoder")
    for key in {*content, *extra}:
        for value in ODD_VALUES:
            changed = {**texts, name: json.dumps({**content, key: value}).encode()}
            del changed["chat_template.jinja"]
            shapes = {"a.q_proj.weight": (2, 2)}
            model = SmallFiles("model", frozenset(changed), changed, shapes, frozenset({"F32"}))
            request = Request(
                inputs.experiment, inputs.document, inputs.lanes, model, engine=ENGINE, host=HERE
            )  # fmt: skip
            assert all(finding.remedy and finding.message for finding in find_faults(request))
