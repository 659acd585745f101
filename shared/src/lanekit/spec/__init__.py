"""The nouns that a user writes: stages, benchmarks, lane and experiment files. May import files and host."""
