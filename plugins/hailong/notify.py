"""Messages to people: mail by SMTP and a webhook, one per change of state, recorded by role and never by person."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid, parseaddr
from functools import partial
from urllib.parse import unquote, urlsplit

import httpx
import psycopg

from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.publish import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import connect

LOCK = 104_005  # advisory lock: one teller at a time, so that nobody is told twice by two of them
TIMEOUT = 20.0  # seconds for each step of a conversation with a mail server or a webhook
NOBODY = "Nobody is told: neither HAILONG_SMTP_URL nor HAILONG_WEBHOOK_URL is set."


@dataclass(frozen=True)
class Message:
    """What some roles (`engineer`, `office`, `head`, …) are to be told about a topic, in Vietnamese.

    `state` is what the message rests on, as text that is the same while nothing changed: a message goes out when it differs
    from the last one that was sent about the topic. The day's count of days left belongs into `text`, not into `state`.
    """

    topic: str
    state: str
    subject: str
    text: str
    roles: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.roles or "@" in self.topic:
            raise ValueError(f"the message about {self.topic!r} needs roles, and its topic must not hold an address")


@dataclass(frozen=True)
class Attempt:
    """What became of a message on one channel. A mail goes to one role, a webhook is told all roles at once."""

    channel: str  # mail | webhook
    roles: tuple[str, ...]
    outcome: str  # sent | known (sent before) | failed | no_address
    detail: str = ""

    def line(self) -> str:
        said = {
            "sent": "sent",
            "known": "told before, nothing sent",
            "failed": "FAILED, tried again at the next run",
            "no_address": "nobody there",
        }[self.outcome]
        return f"{self.channel} to {', '.join(self.roles)}: {said}{f' ({self.detail})' if self.detail else ''}"


@dataclass(frozen=True)
class Delivery:
    """What became of one message. `recorded` is false when the warehouse could not be asked or told."""

    topic: str
    attempts: tuple[Attempt, ...]
    recorded: bool

    @property
    def failed(self) -> bool:
        return any(attempt.outcome == "failed" for attempt in self.attempts)

    @property
    def is_news(self) -> bool:
        """Whether anything was sent, tried or could not be; false when all of it was said before."""
        return any(attempt.outcome != "known" for attempt in self.attempts)

    @property
    def message(self) -> str:
        lines = [f"{self.topic}: {attempt.line()}" for attempt in self.attempts]
        if self.attempts and not self.recorded:
            lines.append(f"{self.topic}: not recorded, so it will be sent again (is the warehouse up and migrated?)")
        return "\n".join(lines)


class _Refused(Exception):
    """The other side did not take a message; the text holds no address, no secret and nothing it wrote."""


def is_configured(settings: Settings) -> bool:
    """Whether there is any channel to tell somebody by."""
    return bool(settings.env.get("HAILONG_SMTP_URL") or settings.env.get("HAILONG_WEBHOOK_URL"))


def deliver(settings: Settings, message: Message, role: str = ROLE) -> Delivery:
    """Tell the roles of a message on every channel that is configured and has not been told this state yet.

    `role` is that of the station which tells, in the database.

    Each attempt is recorded in `ops.notification`. One that failed is no error here, but an outcome: the next run tries that
    channel again and leaves the other alone. Killed between sending and recording, the next run sends once more, never
    less. A message goes out also where the warehouse cannot be reached; then nobody knows what was sent, and every run sends.
    """
    with _ledger(settings, role) as ledger:
        attempts = tuple(_attempts(settings, ledger, message))
    return Delivery(message.topic, attempts, recorded=ledger is not None)


def told(settings: Settings, prefix: str) -> dict[str, tuple[str, ...]]:
    """The roles that have been sent a message about each topic beginning so; none where the warehouse cannot say."""
    with _ledger(settings, ROLE) as ledger:
        if ledger is None:
            return {}
        rows = ledger.execute(
            "select topic, array_agg(distinct role order by role) from ops.notification, unnest(roles) as role "
            "where starts_with(topic, %s) and outcome = 'sent' group by topic",
            (prefix,),
        ).fetchall()
    return {topic: tuple(roles) for topic, roles in rows}


def must_reach(deliveries: list[Delivery]) -> None:
    """TransientError when a channel failed: a message that nobody got must not look like one that was read."""
    failed = [
        f"{delivery.topic}: {attempt.line()}"
        for delivery in deliveries
        for attempt in delivery.attempts
        if attempt.outcome == "failed"
    ]
    if failed:
        raise TransientError(
            "not everybody was told. " + "; ".join(failed) + ". Check HAILONG_SMTP_URL, HAILONG_MAIL_FROM and "
            "HAILONG_WEBHOOK_URL; run it again: what was sent is not sent twice"
        )


# -- what was told before ---------------------------------------------------------------------------------------------


@contextmanager
def _ledger(settings: Settings, role: str) -> Iterator[psycopg.Connection | None]:
    """The warehouse, to this teller alone; None where it is away or has no such table yet."""
    try:
        connection = connect(settings, role=role, autocommit=True)
    except HailongError:
        yield None
        return
    with connection:
        if connection.execute("select to_regclass('ops.notification')").fetchone() == (None,):
            yield None
            return
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))  # ends with the connection
        yield connection


def _attempts(settings: Settings, ledger: psycopg.Connection | None, message: Message) -> Iterator[Attempt]:
    if settings.env.get("HAILONG_SMTP_URL"):
        for role in message.roles:
            if addresses := settings.env.get(f"HAILONG_MAIL_{role.upper()}", "").strip():
                yield _attempt(ledger, message, "mail", (role,), partial(_mail, settings, message, role, addresses))
            else:
                yield Attempt("mail", (role,), "no_address", f"HAILONG_MAIL_{role.upper()} is not set")
    if settings.env.get("HAILONG_WEBHOOK_URL"):
        yield _attempt(ledger, message, "webhook", message.roles, partial(_post, settings, message))


def _attempt(
    ledger: psycopg.Connection | None, message: Message, channel: str, roles: tuple[str, ...], send: Callable[[], str]
) -> Attempt:
    digest = _state_sha256(message, roles)
    if ledger and _last_sent(ledger, message.topic, channel, roles) == digest:
        return Attempt(channel, roles, "known")
    try:
        attempt = Attempt(channel, roles, "sent", send())
    except (_Refused, HailongError) as error:  # a channel that is wrongly set up does not silence the other one
        attempt = Attempt(channel, roles, "failed", str(error))
    if ledger:
        ledger.execute(
            "insert into ops.notification (topic, state_sha256, channel, roles, outcome, detail) "
            "values (%s, %s, %s, %s, %s, %s)",
            (message.topic, digest, channel, list(roles), attempt.outcome, attempt.detail or None),
        )
    return attempt


def _state_sha256(message: Message, roles: tuple[str, ...]) -> str:
    """What is told to whom, for our ledger and for whoever receives the webhook: the same as before is no news."""
    return hashlib.sha256(json.dumps([message.state, sorted(roles)]).encode()).hexdigest()


def _last_sent(ledger: psycopg.Connection, topic: str, channel: str, roles: tuple[str, ...]) -> str | None:
    """Checksum of what was last sent: by mail to this role, by the webhook whatever the roles were."""
    row = ledger.execute(
        "select state_sha256 from ops.notification where topic = %s and channel = %s and outcome = 'sent' "
        "and (channel = 'webhook' or roles = %s) order by notification_id desc limit 1",
        (topic, channel, list(roles)),
    ).fetchone()
    return row[0] if row else None


# -- mail -------------------------------------------------------------------------------------------------------------


def _mail(settings: Settings, message: Message, role: str, addresses: str) -> str:
    """Send to everybody of a role in one mail; what is to be said of it. Some refused addresses are told, all are a failure."""
    sender = settings.env.get("HAILONG_MAIL_FROM", "")
    if "@" not in parseaddr(sender)[1]:
        raise PermanentError("HAILONG_MAIL_FROM is not a mail address: mails need a sender")
    found = [address for _, address in getaddresses([addresses])]
    if not all("@" in address for address in found):
        raise UsageError(
            f"HAILONG_MAIL_{role.upper()} holds something that is no mail address: separate them by commas"
        )
    if any(mark in sender + addresses for mark in "\r\n"):
        raise UsageError(f"HAILONG_MAIL_FROM and HAILONG_MAIL_{role.upper()} must each stand on one line")
    mail = EmailMessage()
    mail["Subject"] = " ".join(message.subject.split())
    mail["From"], mail["To"] = sender, addresses
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])  # not the name of this machine
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(message.text, cte="base64")
    try:
        session = _session(settings.env["HAILONG_SMTP_URL"])
        try:
            refused = session.send_message(mail)
        finally:
            with suppress(smtplib.SMTPException, OSError):  # what was taken is sent, however the server says good-bye
                session.quit()
            session.close()
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise _Refused(f"every address refused: {', '.join(map(str, codes))}") from None
    except smtplib.SMTPResponseException as error:
        raise _Refused(f"{type(error).__name__} {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:  # smtplib logs in with ASCII only
        raise _Refused(type(error).__name__) from None
    return f"{len(refused)} of {len(found)} addresses refused" if refused else ""


def _session(url: str) -> smtplib.SMTP:
    """`smtps://`: TLS from the start. `smtp://`: STARTTLS where the server offers it, and never a password without it."""
    wrong = UsageError(
        "HAILONG_SMTP_URL is not an address: write smtp://host:587 or smtps://host:465, user:password before the host"
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise wrong
    tls = ssl.create_default_context()
    if parts.scheme == "smtps":
        session: smtplib.SMTP = smtplib.SMTP_SSL(parts.hostname, port or 465, timeout=TIMEOUT, context=tls)
    else:
        session = smtplib.SMTP(parts.hostname, port or 587, timeout=TIMEOUT)
    try:
        session.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and session.has_extn("starttls"):
            session.starttls(context=tls)
            session.ehlo()
        elif parts.scheme == "smtp" and parts.username:
            raise _Refused("the server offers no STARTTLS, and the password is not sent in the clear")
        if parts.username:
            session.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        session.close()
        raise
    return session


# -- webhook ----------------------------------------------------------------------------------------------------------


def _post(settings: Settings, message: Message) -> str:
    """POST the message as JSON; with HAILONG_WEBHOOK_KEY the header X-Hailong-Signature is HMAC-SHA-256 of the body."""
    url = settings.env["HAILONG_WEBHOOK_URL"]
    if not url.startswith(("http://", "https://")):
        raise UsageError("HAILONG_WEBHOOK_URL is not an http(s) address")
    body = json.dumps(
        {
            "topic": message.topic,
            "state_sha256": _state_sha256(message, message.roles),
            "roles": list(message.roles),
            "subject": message.subject,
            "text": message.text,
        },
        ensure_ascii=False,
    ).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if key := settings.env.get("HAILONG_WEBHOOK_KEY"):
        headers["X-Hailong-Signature"] = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and a webhook's address is its password
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _Refused(type(error).__name__) from None
    if not answer.is_success:
        raise _Refused(f"HTTP {answer.status_code}")
    return ""
