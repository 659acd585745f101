"""Redis clients of three tempers: one waits through a restart, one answers at once, one gives up soon."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from lanekit.host.stack_settings import StackSettings

PATIENT_CONNECT_SECONDS = 5.0
PATIENT_READ_SECONDS = 30.0  # longer than any blocking command of ours
HEALTH_CHECK_SECONDS = 15
REDIS_RETRIES = 12  # with the backoff below: about 40 s, longer than a restart takes
REDIS_BACKOFF_CAP_SECONDS = 5.0
PROBE_SECONDS = 3.0
IMPATIENT_CONNECT_SECONDS, IMPATIENT_READ_SECONDS = 2.0, 5.0


def connect_redis(settings: StackSettings) -> redis.Redis:
    """Return a client that waits through a restart of Redis of about half a minute."""
    return _open(
        settings,
        socket_connect_timeout=PATIENT_CONNECT_SECONDS,
        socket_timeout=PATIENT_READ_SECONDS,
        socket_keepalive=True,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(ExponentialBackoff(cap=REDIS_BACKOFF_CAP_SECONDS, base=0.1), REDIS_RETRIES),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, redis.exceptions.BusyLoadingError],
    )


def connect_briefly(settings: StackSettings) -> redis.Redis:
    """Return a client that fails at once where Redis is away; see connect_redis."""
    return _open(
        settings,
        socket_connect_timeout=PROBE_SECONDS,
        socket_timeout=PROBE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _open(settings: StackSettings, **options: Any) -> redis.Redis:
    url = redis_url(settings)
    if settings.ca is not None and url.startswith("rediss://"):
        options["ssl_ca_certs"] = str(settings.ca)
    return redis.Redis.from_url(url, **options)


def redis_url(settings: StackSettings) -> str:
    """Return Redis's address; it holds the password and is not for printing."""
    return settings.redis_url.get_secret_value()


def make_impatient(client: redis.Redis) -> redis.Redis:
    """Return a client of the same Redis that fails within seconds; its callers try again themselves."""
    pool = client.connection_pool
    options = {
        **pool.connection_kwargs,
        "socket_connect_timeout": IMPATIENT_CONNECT_SECONDS,
        "socket_timeout": IMPATIENT_READ_SECONDS,
        "retry": Retry(NoBackoff(), 1),
    }
    return redis.Redis(
        connection_pool=redis.ConnectionPool(connection_class=pool.connection_class, **options)
    )
