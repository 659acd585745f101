"""The screen: next-token distributions of two models on the same held-out text."""
