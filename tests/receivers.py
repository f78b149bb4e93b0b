"""A mail server and a webhook that only receive: real SMTP and HTTP on the loopback, for tests of what people are told."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Mail:
    """One mail as the server got it: envelope, content, whether the line was encrypted, who had logged in."""

    sender: str
    recipients: list[str]
    content: EmailMessage
    encrypted: bool
    login: tuple[str, str] | None

    @property
    def subject(self) -> str:
        return str(self.content["Subject"])

    @property
    def text(self) -> str:
        return str(self.content.get_content())


@dataclass
class Mailbox:
    """What a mail server received, and how it is to behave.

    `refuse` addresses; `down` answers every greeting with 421; `rude` answers QUIT with 500.
    """

    port: int = 0
    tls: ssl.SSLContext | None = None
    mails: list[Mail] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    down: bool = False
    rude: bool = False

    def take(self) -> list[Mail]:
        taken, self.mails = self.mails, []
        return taken

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(*lines: str) -> None:
            writer.write("".join(f"{line}\r\n" for line in lines).encode())

        sender, recipients, encrypted, login = "", list[str](), False, None
        if self.down:
            return say("421 closed for geheim@example.invalid")
        say("220 mailbox")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            address = rest.partition("<")[2].partition(">")[0]
            match verb.upper():
                case "EHLO":
                    offers = ["AUTH PLAIN"] + (["STARTTLS"] if self.tls and not encrypted else [])
                    say("250-mailbox", *(f"250-{offer}" for offer in offers), "250 8BITMIME")
                case "STARTTLS":
                    say("220 go on")
                    await writer.start_tls(self.tls)  # type: ignore[arg-type]
                    encrypted = True
                case "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    login = (user, password)
                    say("235 welcome" if password != "wrong" else "535 geheim@example.invalid is not known")
                case "MAIL":
                    sender, recipients = address, []
                    say("250 fine")
                case "RCPT" if address in self.refuse:
                    say(f"550 {address} is not here")
                case "RCPT":
                    recipients.append(address)
                    say("250 fine")
                case "DATA":
                    say("354 go on")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    content = email.message_from_bytes(data[:-3], policy=email.policy.default)
                    assert isinstance(content, EmailMessage)
                    self.mails.append(Mail(sender, recipients, content, encrypted, login))
                    say("250 taken")
                case "QUIT":
                    return say("500 what" if self.rude else "221 bye")
                case _:
                    say("250 fine")


@contextmanager
def mailbox(tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """A mail server on a free port of the loopback; it offers STARTTLS when it is given a context."""
    box, started, loop = Mailbox(tls=tls), threading.Event(), asyncio.new_event_loop()

    async def listen() -> None:
        server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
        box.port = server.sockets[0].getsockname()[1]
        started.set()

    def run() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@dataclass
class Hook:
    """What a webhook received, as (headers, body), on which paths, and the status that it answers with."""

    url: str = ""
    status: int = 200
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def take(self) -> list[dict[str, Any]]:
        taken, self.calls = self.calls, []
        return [json.loads(body) for _, body in taken]


@contextmanager
def webhook() -> Iterator[Hook]:
    """An HTTP receiver on a free port of the loopback."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.paths.add(self.path)
            if hook.status < 300:
                hook.calls.append((dict(self.headers), body))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/hook/geheim"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
