"""The tiny tokenizer: byte-level BPE learned from the synthetic corpus, with EXAONE-like ids.

`[PAD]`, `[BOS]` and the end-of-turn token get the ids the real model uses (0, 1 and 361), and the
chat template writes the same text as the real one. Newlines are split off before BPE, so a rendered
generation prompt is always a token prefix of the rendered conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, UNK, END = "[PAD]", "[BOS]", "[UNK]", "[|endofturn|]"
ROLES = ("[|system|]", "[|user|]", "[|assistant|]", "[|tool|]")
THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>")
LEADING = (PAD, BOS, "[EOS]", UNK, *ROLES, *THINK)
PAD_ID, BOS_ID, END_ID = 0, 1, 361
VOCAB_SIZE = 1536

CHAT_TEMPLATE = """\
{%- set no_thoughts = '<think>\\n\\n</think>\\n\\n' -%}
{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant', 'tool'] -%}
{{- raise_exception('unknown role: ' ~ message.role) -}}
{%- endif -%}
{{- '[|' ~ message.role ~ '|]\\n' -}}
{%- if message.role == 'assistant' -%}
{{- no_thoughts ~ message.content.split('</think>')[-1].lstrip('\\n') -}}
{%- else -%}
{{- message.content -}}
{%- endif -%}
{{- '[|endofturn|]\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '[|assistant|]\\n' -}}
{{- '<think>\\n' if enable_thinking is defined and enable_thinking else no_thoughts -}}
{%- endif -%}
"""


def train_tokenizer(corpus: Iterable[str], vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Learn the merges from `corpus` and return a tokenizer that AutoTokenizer can load."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n\n|\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(LEADING) - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    bpe = _arrange_ids(bpe)
    special = [PAD, BOS, "[EOS]", UNK, *ROLES, END]
    bpe.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    bpe.add_tokens([AddedToken(text, normalized=False) for text in THINK])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _arrange_ids(bpe: Tokenizer) -> Tokenizer:
    """Put the special tokens at their ids and shift the learned tokens around them."""
    state = json.loads(bpe.to_str())
    learned = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    order = [*LEADING, *learned]
    order.insert(END_ID, END)
    state["model"]["vocab"] = {token: index for index, token in enumerate(order)}
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
