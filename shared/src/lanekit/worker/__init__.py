"""The process in each worker's container: python -m lanekit.worker. May import all but commands."""
