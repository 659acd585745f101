"""A hub that is written to as well: repositories, large files under their sha256, commits; over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest
from hub_double import GOOD_TOKEN, HubDouble

READ_TOKEN = "hf_reads_alone"
OWNER = "me"
LARGE_SUFFIXES = (".safetensors", "tokenizer.json")
CUT = "cut in the middle"


def serve_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """Give a hub that the library in this process speaks to, whatever that read when it was imported."""
    from huggingface_hub.utils import _http

    hub = WritableHub()
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_http.time, "sleep", lambda _seconds: None)  # its own retries wait
    _http.reset_sessions()
    yield hub
    hub.close()
    _http.reset_sessions()  # the next test's are as offline as the process is


@dataclass
class Repo:
    """A repository; `large` names the files that stand in the storage, `commits` their ids, oldest first."""

    is_private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    def commit(self) -> str:
        self.commits.append(hashlib.sha1(f"{id(self)}{len(self.commits)}".encode()).hexdigest())
        return self.commits[-1]


class WritableHub(HubDouble):
    """Takes pushes of GOOD_TOKEN, below OWNER alone.

    `n_cut` uploads are cut in their middle; `n_spoilt` commits lose a byte of their first large file;
    `n_overtaken` commits find that another came first. `arrived` lists the sha256 of each whole upload.
    """

    def __init__(self) -> None:
        super().__init__({}, set())
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.arrived: list[str] = []
        self.n_cut = self.n_spoilt = self.n_overtaken = 0
        self.echoes_token = False

    def add(self, repo: str, *, is_private: bool, **files: bytes) -> Repo:
        made = self.repos[repo] = Repo(is_private, {".gitattributes": b"", **files})
        made.commit()
        self.sets[repo] = made.files
        return made

    def _read(self, http: BaseHTTPRequestHandler) -> bytes | None:
        if http.command == "PUT" and self.n_cut > 0:
            self.n_cut -= 1
            http.rfile.read(int(http.headers["Content-Length"]) // 2)
            http.close_connection = True
            self.requests[-1] += f" ({CUT})"
            http.connection.shutdown(socket.SHUT_RDWR)
            return None
        return super()._read(http)

    def _route(self, http: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        if http.command == "PUT":
            oid = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                return self._send(http, 400, b"wrong digest", {})
            self.objects[oid] = body
            self.arrived.append(oid)
            return self._send(http, 200, b"", {})
        token = http.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (GOOD_TOKEN, READ_TOKEN):
            words = f"no: {token}" if self.echoes_token else "Invalid credentials in Authorization header"
            return self._refuse(http, 401, "Invalid credentials in Authorization header", words)
        if path == "/api/validate-yaml":
            return self._json(http, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(http, json.loads(body), token)
        parts = path.removeprefix("/api").removeprefix("/models").strip("/").removesuffix("/").split("/")
        repo = "/".join(parts[:2]).removesuffix(".git")
        found = self.repos.get(repo)
        if found is None or (found.is_private and not token):
            return self._refuse(http, 401, "Repository not found", code="RepoNotFound")
        if http.command == "GET" and "blobs=" in urlsplit(http.path).query.lower():
            return self._json(http, self._describe(repo, found))
        if http.command != "POST" or "paths-info" in path:
            return super()._route(http, path, body)
        if token != GOOD_TOKEN:
            words = (
                f"no write right: {http.headers['Authorization']}" if self.echoes_token else "no write right"
            )
            return self._refuse(http, 403, words)
        if parts[2:3] == ["preupload"]:
            return self._json(
                http, {"files": [self._choose_mode(file) for file in json.loads(body)["files"]]}
            )
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch(http, json.loads(body)["objects"])
        if parts[2:3] == ["commit"]:
            return self._commit(http, repo, found, [json.loads(line) for line in body.splitlines()])
        return self._send(http, 404, b"{}", {})

    def _create(self, http: BaseHTTPRequestHandler, asked: dict[str, Any], token: str) -> None:
        owner, name = asked.get("organization") or OWNER, asked["name"]
        if not token:
            return self._refuse(http, 401, "Unauthorized")
        if token != GOOD_TOKEN or owner != OWNER:
            words = f'You don\'t have the rights to create a model under the namespace "{owner}"'
            return self._refuse(http, 403, words)
        if f"{owner}/{name}" in self.repos:
            return self._refuse(http, 409, "You already created this model repo")
        self.add(f"{owner}/{name}", is_private=bool(asked.get("private")))
        return self._json(http, {"url": f"{self.url}/{owner}/{name}"})

    def _batch(self, http: BaseHTTPRequestHandler, objects: list[dict[str, Any]]) -> None:
        answers = []
        for one in objects:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.objects:
                answer["actions"] = {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}
            answers.append(answer)
        self._json(http, {"transfer": "basic", "objects": answers})

    def _commit(
        self, http: BaseHTTPRequestHandler, name: str, repo: Repo, lines: list[dict[str, Any]]
    ) -> None:
        header = lines[0]["value"]
        if self.n_overtaken > 0:
            self.n_overtaken -= 1
            repo.commit()
        if header.get("parentCommit") not in (None, repo.commits[-1]):
            return self._refuse(http, 412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del repo.files[value["path"]]
            elif line["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                if self.n_spoilt > 0:
                    self.n_spoilt -= 1
                    content = content[:-1]
                repo.files[value["path"]] = content
                repo.large.add(value["path"])
            else:
                repo.files[value["path"]] = base64.b64decode(value["content"])
        commit = repo.commit()
        return self._json(http, {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit})

    @staticmethod
    def _choose_mode(file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(LARGE_SUFFIXES) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    @staticmethod
    def _describe(name: str, repo: Repo) -> dict[str, Any]:
        siblings = []
        for path, content in repo.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
            if path in repo.large:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling |= {
                    "blobId": "d" * 40,
                    "lfs": {"sha256": sha256, "size": len(content), "pointerSize": 134},
                }
            siblings.append(sibling)
        return {"id": name, "sha": repo.commits[-1], "private": repo.is_private, "siblings": siblings}

    def _json(self, http: BaseHTTPRequestHandler, value: Any) -> None:
        self._send(http, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(
        self, http: BaseHTTPRequestHandler, status: int, header: str, words: str = "", code: str = ""
    ) -> None:
        headers = {"X-Error-Message": header, "Content-Type": "application/json"}
        body = json.dumps({"error": words or header}).encode()
        self._send(http, status, body, headers | ({"X-Error-Code": code} if code else {}))
