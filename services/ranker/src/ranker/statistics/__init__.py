"""Intervals, paired tests and comparisons over per-item outputs."""
