"""The tiny EXAONE-4 model: the real architecture and depth at a fraction of the width."""

from __future__ import annotations

import torch
from transformers import Exaone4Config, Exaone4ForCausalLM

from .tokenizer import BOS_ID, END_ID, PAD_ID

LAYERS = 30


def build_config(vocab_size: int, hidden: int = 128, ffn: int = 128) -> Exaone4Config:
    """Describe the model; every linear's input width divides by 128, as group quantization wants.

    Depth, norms, tied head, rope base and llama3 rope scaling are those of the real model.
    """
    return Exaone4Config(
        vocab_size=-(-vocab_size // 128) * 128,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=LAYERS,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=8192,
        rope_theta=1_000_000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        sliding_window=None,
        layer_types=["full_attention"] * LAYERS,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )


def build_model(config: Exaone4Config, seed: int) -> Exaone4ForCausalLM:
    """Create the model with seeded random weights, in float32."""
    torch.manual_seed(seed)
    return Exaone4ForCausalLM(config).float()
