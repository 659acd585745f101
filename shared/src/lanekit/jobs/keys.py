"""The names under which this product keeps something in Redis; RQ's own begin with `rq:`."""

from __future__ import annotations

PREFIX = "lanekit:"


class RedisKeys:
    """One method for each kind of entry, and a constant where there is one entry alone."""

    CONTROLLER = f"{PREFIX}controller"
    CONTROLLER_LOCK = f"{PREFIX}controller-lock"
    EPOCH = f"{PREFIX}epoch"

    @staticmethod
    def report(job_id: str) -> str:
        """What a worker says of the job in its hand; expires with the worker."""
        return f"{PREFIX}report:{job_id}"

    @staticmethod
    def failure(job_id: str) -> str:
        """Why a job failed."""
        return f"{PREFIX}failure:{job_id}"

    @staticmethod
    def attempts(stage_key: str) -> str:
        """How often a stage run was enqueued."""
        return f"{PREFIX}attempts:{stage_key}"

    @staticmethod
    def cancel(job_id: str) -> str:
        """Tells the worker that holds a job to stop it."""
        return f"{PREFIX}cancel:{job_id}"

    @staticmethod
    def stopped(job_id: str) -> str:
        """Says that the controller asked for a job's end: its failure is none of the stage's."""
        return f"{PREFIX}stopped:{job_id}"

    @staticmethod
    def worker(name: str) -> str:
        """What a worker says of itself; expires with it."""
        return f"{PREFIX}worker:{name}"

    @staticmethod
    def snapshot(run_id: str) -> str:
        """A run as the controller last saw it."""
        return f"{PREFIX}snapshot:{run_id}"
