"""The set-up check: what this machine and its libraries are, against what the main job needs."""
