"""Fixtures of the tests that load from a source of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina

from hailong.extract.run import ingest
from hailong.settings import Settings
from tests.integration.fake_source import FakeSource, code_file


@contextmanager
def serving() -> Iterator[FakeSource]:
    """A source over HTTP, as long as the block lasts."""
    fake = FakeSource()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, asked: dict[str, Any]) -> None:
            status = fake.failures.pop(0) if fake.failures else 200
            if self.headers.get("Authorization") != "Bearer tok":
                status = 401
            body = json.dumps(fake.answer(urlsplit(self.path).path, asked) if status == 200 else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for system in ("tthc", "rating"):
        fake.env |= {
            f"HAILONG_SOURCE_{system.upper()}_URL": f"{url}/{system}",
            f"HAILONG_SOURCE_{system.upper()}_TOKEN": "tok",
        }
    with stamina.set_testing(True, attempts=3):
        yield fake
    server.shutdown()


@pytest.fixture
def source() -> Iterator[FakeSource]:
    with serving() as fake:
        yield fake


@pytest.fixture
def coded(new_warehouse: Callable[..., Settings], source: FakeSource, tmp_path: Path) -> Settings:
    """A warehouse that knows the codes, pointed at the source."""
    settings = new_warehouse(**source.env)
    ingest(settings, "code_map", file=code_file(tmp_path))
    return settings
