"""Lanes into a graph of keyed stage runs, and what became of it; pure. May import spec and lower."""
