"""A small HTTP server that answers in OpenAI's form, well or badly: the other end of a judge."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server says to one request."""

    words: str = "잘 썼다.\nRating: [[8]]"
    status: int = 200
    usage: tuple[int, int] | None = (300, 20)
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "10"})
    finish_reason: str = "stop"
    seconds: float = 0.0
    raw: str | None = None


@dataclass
class Endpoint:
    """The server: `requests` are the bodies it got, `keys` the headers with them."""

    url: str = ""
    answer: Callable[[int, dict[str, Any]], Answer] = lambda _number, _body: Answer()
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["small-judge", "large-judge"])
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve(answer: Callable[[int, dict[str, Any]], Answer] | None = None) -> Iterator[Endpoint]:
    """Serve chat completions and the list of models on a free port; `answer` gets the request's number."""
    endpoint = Endpoint(answer=answer) if answer else Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/v1/models" and endpoint.models:
                models = [{"id": name, "object": "model"} for name in endpoint.models]
                self.reply(200, json.dumps({"object": "list", "data": models}), {})
            else:
                self.reply(404, json.dumps({"error": {"message": "no such page"}}), {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with endpoint.lock:
                number = len(endpoint.requests)
                endpoint.requests.append(body)
                endpoint.keys.append(self.headers.get("authorization", ""))
                endpoint.at_once += 1
                endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
            try:
                said = endpoint.answer(number, body)
                if said.seconds:
                    threading.Event().wait(said.seconds)
                self.reply(said.status, make_reply(said, body), said.headers)
            finally:
                with endpoint.lock:
                    endpoint.at_once -= 1

        def reply(self, status: int, text: str, headers: dict[str, str]) -> None:
            payload = text.encode()
            try:
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except OSError:  # the client did not wait
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_reply(said: Answer, body: dict[str, Any]) -> str:
    if said.raw is not None:
        return said.raw
    if said.status != 200:
        return json.dumps({"error": {"message": said.words, "type": "error", "code": None}})
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": said.words},
        "finish_reason": said.finish_reason,
    }
    reply: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": f"{body['model']}-2026",
        "choices": [choice],
    }
    if said.usage:
        prompt, completion = said.usage
        total = prompt + completion
        reply["usage"] = {
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
        }  # fmt: skip
    return json.dumps(reply)
