"""Standard output and error of a command, whatever the terminal and the locale can show."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path


def make_streams_lenient() -> None:
    """Show a replacement for what a stream's encoding cannot hold; write nowhere where a stream is closed."""
    logging.raiseExceptions = False  # a log line that cannot be written is no reason to print a traceback
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def drop_output() -> None:
    """Send what is still to be written nowhere: whoever read it has gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
