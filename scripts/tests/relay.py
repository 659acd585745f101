"""The wire between two hosts: a relay with TLS in front of ports that a host publishes to itself alone.

python relay.py CERTIFICATE KEY ADDRESS:PORT=LOCAL_PORT…
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from pathlib import Path

CHUNK_BYTES = 1 << 16


def make_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for an address; it is its own authority. Return it and its key."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.chmod(0o644)
    return certificate, key


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def serve(certificate: str, key: str, routes: list[str]) -> None:
    """Relay every route until the end of the process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    servers = []
    for route in routes:
        outer, _, local_port = route.partition("=")
        address, _, port = outer.rpartition(":")

        async def connect(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: int = int(local_port)
        ) -> None:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

        servers.append(await asyncio.start_server(connect, address, int(port), ssl=context))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3:]))
