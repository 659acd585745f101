"""Lane files that cannot work or mean nothing: found before the first stage, at their place."""

from __future__ import annotations

import pytest
from preflight_bench import Bench


def test_nothing_is_found_where_nothing_is_wrong(bench: Bench) -> None:
    assert bench.collect() == []


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["prune: {keep_layers: 26}", "distill", "prune: {keep_layers: 26}"],
         "6:13: keep_layers is 26, but the model has 26 layers at this point of the lane: at most 25 can be "
         "kept"),
        (["prune: {keep_layers: 26}", "distill", "prune: {keep_layers: 28}"],
         "6:13: keep_layers is 28, but the model has 26 layers at this point of the lane: at most 25 can be "
         "kept"),
        (["prune: {keep_layers: 30}"],
         "4:13: keep_layers is 30, but the model has 30 layers: at most 29 can be kept"),
        (["prune: {keep_layers: 1}", "prune: {keep_layers: 1}"],
         "5:13: keep_layers is 1, but the model has 1 layer at this point of the lane: none can be dropped"),
        (["distill"],
         "4:5: 'distill' would train the base model towards itself: it learns from the base model, and no "
         "earlier stage has changed it"),
        (["distill", "gptq: {scheme: W8A16}"],
         "4:5: 'distill' would train the base model towards itself: it learns from the base model, and no "
         "earlier stage has changed it"),
    ],
)  # fmt: skip
def test_stages_are_followed_as_a_chain(bench: Bench, stages: list[str], expected: str) -> None:
    bench.write_lane("lane20_x", *stages)
    assert bench.list_texts() == [f"lanes/lane20_x.yaml:{expected}"]
    assert all(finding.remedy for finding in bench.collect())


@pytest.mark.parametrize(
    "stages",
    [
        ["prune: {keep_layers: 28}", "distill", "prune: {keep_layers: 26}", "distill"],
        ["prune: {keep_layers: 1}"],
        ["sft", "distill"],
        ["prune: {keep_layers: 28}", "prune: {keep_layers: 27}", "gptq: {scheme: W4A16}", "post_sft"],
    ],
)
def test_chains_that_work_are_left_alone(bench: Bench, stages: list[str]) -> None:
    bench.write_lane("lane20_x", *stages)
    assert bench.collect() == []


def test_layers_are_followed_where_the_models_own_are_not_known(bench: Bench) -> None:
    bench.write_lane("lane20_x", "prune: {keep_layers: 26}", "prune: {keep_layers: 28}")
    bench.change(lambda s: s["base_model"].update(source="../nowhere"))
    texts = bench.list_texts()
    assert any("keep_layers is 28, but the model has 26 layers" in text for text in texts)
    assert any("nowhere: no such folder" in text for text in texts)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("sft: {target_modules: [qproj, vproj]}",
         ["8: target_modules: the model has no linear layer 'qproj' to adapt (did you mean 'q_proj'?)",
          "8: target_modules: the model has no linear layer 'vproj' to adapt (did you mean 'v_proj'?)"]),
        ("sft: {target_modules: [q_proj, vproj]}",
         ["8: target_modules: the model has no linear layer 'vproj' to adapt (did you mean 'v_proj'?)"]),
        ("sft: {target_modules: [lm_head]}",
         ["8: target_modules: the model has no linear layer 'lm_head' to adapt"]),
        ("sft: {target_modules: [q_norm]}",
         ["8: target_modules: the model has no linear layer 'q_norm' to adapt"]),
        ("sft: {target_modules: []}", ["8: target_modules names no layer"]),
        ("sft: {target_modules: [self_attn.q_proj, down_proj]}", []),
        ("gptq: {scheme: W8A16, ignore: [lm_head, down_proj]}",
         ["9: ignore: 'down_proj' is no layer of the model, so that nothing would be left out"]),
        ("gptq: {scheme: W8A16, ignore: []}",
         ["9: ignore does not name lm_head, which is tied to the embedding: quantizing it would tear them "
          "apart"]),
        ("gptq: {scheme: W8A16, ignore: ['re:[']}",
         ["9: ignore: 're:[' is no regular expression: unterminated character set at position 0"]),
        ("gptq: {scheme: W8A16, ignore: ['re:.*lm_head', 're:.*down_proj', model.layers.0.self_attn.o_proj]}",
         []),
        ("fp8: {scheme: FP8_DYNAMIC, ignore: [lm_haed]}",
         ["9: ignore: 'lm_haed' is no layer of the model (did you mean 'lm_head'?), so that nothing would be "
          "left out",
          "9: ignore does not name lm_head, which is tied to the embedding: quantizing it would tear them "
          "apart"]),
    ],
)  # fmt: skip
def test_names_of_layers_are_those_of_the_model(bench: Bench, stage: str, expected: list[str]) -> None:
    path = bench.write_lane("lane20_x", stage)
    found = [text.removeprefix("lanes/lane20_x.yaml:4:").partition(" ")[2] for text in bench.list_texts()]
    assert found == [text.partition(" ")[2] for text in expected], path.read_text(encoding="utf-8")


def test_widths_that_no_group_divides(bench: Bench) -> None:
    bench.write_lane("lane20_x", "gptq: {scheme: W4A16}")
    bench.change_json("config.json", intermediate_size=192)
    (text,) = bench.list_texts()
    assert text == (
        "lanes/lane20_x.yaml:4:12: W4A16 needs widths that divide by its group size 128; the model has "
        "intermediate_size 192"
    )


@pytest.mark.parametrize(
    ("stage", "scheme"), [("awq", "W4A16"), ("awq", "W4A16_ASYM"), ("autoround", "W4A16")]
)
def test_other_ways_to_groups_take_the_same_widths(bench: Bench, stage: str, scheme: str) -> None:
    bench.write_lane("lane20_x", f"{stage}: {{scheme: {scheme}}}")
    assert bench.list_texts() == []
    bench.change_json("config.json", intermediate_size=192)
    (finding,) = bench.collect()
    assert finding.message.startswith(f"{scheme} needs widths that divide by its group size 128")
    assert finding.remedy == "use W8A16, which is per channel"


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_a_model_with_norms_before_its_linears_is_not_smoothed(bench: Bench, kind: str) -> None:
    bench.write_lane("lane20_x", "smooth: {calibration_rows: 8}", "gptq: {scheme: W8A8, calibration_rows: 8}")
    assert bench.collect() == []
    bench.change_json("config.json", model_type=kind)
    (finding,) = [f for f in bench.collect() if "smooth" in f.message]
    assert finding.level == "fault"
    assert finding.where.endswith("lane20_x.yaml:4:5")
    assert f'model_type "{kind}" has norms there' in finding.message
    assert finding.remedy


def test_smoothing_comes_before_the_quantization(bench: Bench) -> None:
    bench.write_lane("lane20_x", "gptq: {scheme: W8A8, calibration_rows: 8}", "smooth")
    (text,) = bench.list_texts()
    assert "'smooth' needs an unquantized model, but an earlier stage quantizes it" in text


def test_lanes_that_do_the_same_are_told(bench: Bench) -> None:
    bench.write_lane("lane20_x", "gptq: {scheme: W8A16}")
    (finding,) = bench.collect()
    assert finding.level == "warning"
    assert "lane20_x does the same as lane01_x" in finding.message


def test_a_mix_needs_its_sources_and_a_stage_that_looks_at_them(bench: Bench) -> None:
    mix = "calibration: {mix: [{source: manta, rows: 16}, {source: general, rows: 32}]}"
    bench.write_lane("lane20_x", f"fp8: {{scheme: FP8, {mix}}}")
    assert bench.collect() == []
    bench.write_lane("lane21_x", f"fp8: {{scheme: FP8_DYNAMIC, {mix}}}")
    (text,) = bench.list_texts()
    assert "lane21_x.yaml:4:32: 'fp8' calibrates nothing with these parameters" in text
    bench.write_lane("lane21_x", "fp8: {scheme: FP8, calibration: {mix: [{source: general, rows: 33}]}}")
    (text,) = bench.list_texts()
    assert "asks for 33 calibration rows, corpus.calibration_rows is 32" in text
    bench.write_lane("lane21_x", "prune: {keep_layers: 28}")
    bench.change(lambda s: s["data"].pop("general"))
    (finding,) = bench.collect()
    assert "takes rows of 'general', and the experiment has no source" in finding.message


def test_a_source_that_calibrates_alone_need_not_be_there_where_no_mix_takes_it(bench: Bench) -> None:
    (bench.folder / "general.jsonl").unlink()
    assert bench.collect() == []
    bench.write_lane("lane20_x", "fp8: {scheme: FP8, calibration: {mix: [{source: general, rows: 8}]}}")
    (finding,) = bench.collect()
    assert "general.jsonl" in finding.message


def test_a_source_that_calibrates_alone_is_looked_at_where_a_mix_takes_it(bench: Bench) -> None:
    (bench.folder / "general.jsonl").write_text('{"prompt": "no messages"}\n' * 300, encoding="utf-8")
    assert bench.collect() == []
    bench.write_lane("lane20_x", "fp8: {scheme: FP8, calibration: {mix: [{source: general, rows: 8}]}}")
    (text,) = bench.list_texts()
    assert "129 conversations are asked for, at most 100 of 300 rows can be used" in text
    assert "the column 'messages' is missing" in text
