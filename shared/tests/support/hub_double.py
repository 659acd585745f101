"""A hub of a few data sets and models on this host: real HTTP, with the hub's status codes and headers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
GOOD_TOKEN = "hf_good"


class HubDouble:
    """Files by repository and path; those that are gated; how many requests to answer 503 first."""

    def __init__(self, sets: dict[str, dict[str, bytes]], gated: set[str], n_faults: int = 0) -> None:
        self.sets, self.gated, self.n_faults = sets, gated, n_faults
        self.requests: list[str] = []
        self.is_closed = False
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                double.answer(self)

            def do_GET(self) -> None:
                double.answer(self)

            def do_POST(self) -> None:
                double.answer(self)

            def do_PUT(self) -> None:
                double.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop serving, also on connections that are open."""
        self.is_closed = True
        self.server.shutdown()
        self.server.server_close()

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        if self.is_closed:
            http.close_connection = True
            return None
        path = unquote(urlsplit(http.path).path)
        self.requests.append(f"{http.command} {path}")
        body = self._read(http)
        if self.n_faults > 0:
            self.n_faults -= 1
            return self._send(http, 503, b"busy", {})
        return None if body is None else self._route(http, path, body)

    def _read(self, http: BaseHTTPRequestHandler) -> bytes | None:
        """Return a request's body; None where the connection was cut in its middle."""
        return http.rfile.read(int(http.headers.get("Content-Length") or 0))

    def _route(self, http: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        parts = path.removeprefix("/api").strip("/").split("/")
        if "/".join(parts[:2]) in self.sets:  # a model's file: no kind stands before its name
            parts = ["models", *parts]
        if parts[0] not in ("datasets", "models") or len(parts) < 3:
            return self._send(http, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        repo, rest = "/".join(parts[1:3]), parts[3:]
        if repo not in self.sets:
            return self._send(http, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if repo in self.gated and rest[:1] in (["resolve"], ["auth-check"]):
            token = http.headers.get("Authorization", "").removeprefix("Bearer ")
            if token != GOOD_TOKEN:
                status = 403 if token else 401
                return self._send(http, status, b"gated", {"X-Error-Code": "GatedRepo"})
        if rest[:1] != ["auth-check"] and len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self._send(http, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = self.sets[repo]
        if rest[:1] == ["resolve"]:
            name = "/".join(rest[2:])
            if name not in files:
                return self._send(http, 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hash(files[name]) & 0xFFFFFFFF:x}"'}
            return self._send(http, 200, files[name], headers)
        if rest == ["auth-check"]:
            return self._send(http, 200, b"OK", {})
        described = [
            {"type": "file", "path": name, "size": len(data), "oid": "b" * 40} for name, data in files.items()
        ]
        if rest[:1] == ["tree"]:
            folder = "".join(f"{part}/" for part in rest[2:] if part)
            inside = [d for d in described if str(d["path"]).startswith(folder)]
            if not inside:
                return self._send(http, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
            if "recursive=true" not in http.path.lower():
                names = {str(d["path"])[len(folder) :] for d in inside}
                folders = sorted({name.split("/")[0] for name in names if "/" in name})
                inside = [d for d in inside if "/" not in str(d["path"])[len(folder) :]]
                inside += [{"type": "directory", "path": folder + name, "oid": "c" * 40} for name in folders]
            return self._send(http, 200, json.dumps(inside).encode(), {})
        if rest[:1] == ["paths-info"]:
            wanted = body.decode()
            found = [d for d in described if str(d["path"]) in unquote(wanted)]
            return self._send(http, 200, json.dumps(found).encode(), {})
        info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return self._send(http, 200, json.dumps(info).encode(), {})

    def _send(self, http: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        http.send_response(status)
        for name, value in headers.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        if http.command != "HEAD":
            http.wfile.write(body)
