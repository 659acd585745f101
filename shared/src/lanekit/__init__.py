"""lanekit: the contracts and the plumbing that every service of the pipeline shares. Never imports torch."""
