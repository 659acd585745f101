"""The evaluator: benchmarks and speed, with vLLM or transformers."""
