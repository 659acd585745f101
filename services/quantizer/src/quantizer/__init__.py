"""The quantizer: GPTQ and FP8 through llmcompressor."""
