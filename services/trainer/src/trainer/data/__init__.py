"""The instruction corpus and the benchmark sets: read, checked, guarded, drawn from."""
