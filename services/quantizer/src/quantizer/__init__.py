"""The quantizer: GPTQ, AWQ, AutoRound and FP8 through llmcompressor."""
