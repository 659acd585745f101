"""A run of every lane at EXAONE-4.0-1.2B's size, with random weights and small synthetic data."""
