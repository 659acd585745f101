"""Measurements against other tools; each script is a command of its own."""
