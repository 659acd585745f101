"""The quantizer: GPTQ, AWQ and FP8 through llmcompressor."""
