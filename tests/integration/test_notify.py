"""Who is told what: once per state and channel, on real SMTP and HTTP, without a secret or an address left behind."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import logging
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from hailong.errors import TransientError
from hailong.notify import Attempt, Delivery, Message, deliver, is_configured, must_reach, told
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.receivers import Hook, Mailbox, mailbox, webhook

ENGINEER, OFFICE = "ky.su@example.invalid", "van.phong@example.invalid"


@pytest.fixture(scope="module")
def receivers() -> Iterator[tuple[Mailbox, Hook]]:
    with mailbox() as box, webhook() as hook:
        yield box, hook


@pytest.fixture
def box(receivers: tuple[Mailbox, Hook]) -> Mailbox:
    receivers[0].mails.clear()
    receivers[0].refuse.clear()
    receivers[0].down = False
    return receivers[0]


@pytest.fixture
def hook(receivers: tuple[Mailbox, Hook]) -> Hook:
    receivers[1].calls.clear()
    receivers[1].status = 200
    return receivers[1]


def equipped(settings: Settings, box: Mailbox | None = None, hook: Hook | None = None, **more: str) -> Settings:
    env = {
        **settings.env,
        "HAILONG_MAIL_FROM": "Hài lòng <hai-long@example.invalid>",
        "HAILONG_MAIL_ENGINEER": ENGINEER,
    }
    if box:
        env["HAILONG_SMTP_URL"] = f"smtp://127.0.0.1:{box.port}"
    if hook:
        env["HAILONG_WEBHOOK_URL"] = hook.url
    return replace(settings, env={**env, "HAILONG_MAIL_OFFICE": f"Văn phòng <{OFFICE}>, {ENGINEER}", **more})


def about(topic: str, state: str = "late", roles: tuple[str, ...] = ("engineer",)) -> Message:
    return Message(
        topic, state, "Kỳ 2026-10: chưa công bố", "Còn thiếu:\n– kết quả niêm yết của 7 đơn vị\n.\nHết.", roles
    )


def outcomes(delivery: Delivery) -> list[tuple[str, str]]:
    return [(attempt.channel, attempt.outcome) for attempt in delivery.attempts]


def recorded(settings: Settings, topic: str) -> list[tuple[object, ...]]:
    with connect(settings, role="hailong_reader") as connection:
        return connection.execute(
            "select channel, roles, outcome, detail from ops.notification where topic = %s order by notification_id",
            (topic,),
        ).fetchall()


def test_a_state_is_told_once_on_each_channel_and_a_new_one_again(
    module_warehouse: Settings, box: Mailbox, hook: Hook
) -> None:
    settings = equipped(module_warehouse, box, hook)
    message = about("deadline/once", roles=("engineer", "office"))
    assert outcomes(deliver(settings, message)) == [("mail", "sent"), ("mail", "sent"), ("webhook", "sent")]
    assert outcomes(deliver(settings, message)) == [("mail", "known"), ("mail", "known"), ("webhook", "known")]
    mails = box.take()
    assert [mail.recipients for mail in mails] == [[ENGINEER], [OFFICE, ENGINEER]]
    assert {mail.sender for mail in mails} == {"hai-long@example.invalid"}
    assert mails[0].subject == message.subject
    assert mails[0].text.strip() == message.text
    assert hook.take() == [
        {
            "topic": "deadline/once",
            "state_sha256": hashlib.sha256(b'["late", ["engineer", "office"]]').hexdigest(),  # as recorded
            "roles": ["engineer", "office"],
            "subject": message.subject,
            "text": message.text,
        }
    ]
    deliver(settings, replace(message, state="signed"))
    deliver(settings, message)  # what was said before, and is so again, is news
    assert len(box.take()) == 4 and len(hook.take()) == 2
    assert told(settings, "deadline/onc") == {"deadline/once": ("engineer", "office")}
    assert told(settings, "deadline/other") == {}


def test_a_role_that_joins_is_told_without_telling_the_other_again(
    module_warehouse: Settings, box: Mailbox, hook: Hook
) -> None:
    settings = equipped(module_warehouse, box, hook)
    deliver(settings, about("deadline/joins"))
    assert outcomes(deliver(settings, about("deadline/joins", roles=("engineer", "office")))) == [
        ("mail", "known"), ("mail", "sent"), ("webhook", "sent"),
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ["mail", "webhook"])
def test_a_channel_that_failed_is_tried_again_and_the_other_is_left_alone(
    module_warehouse: Settings, box: Mailbox, hook: Hook, broken: str
) -> None:
    settings, topic = equipped(module_warehouse, box, hook), f"deadline/{broken}"
    box.down, hook.status = broken == "mail", 500 if broken == "webhook" else 200
    first = deliver(settings, about(topic))
    assert dict(outcomes(first)) == {"mail": "sent", "webhook": "sent", broken: "failed"}
    assert first.failed
    with pytest.raises(TransientError, match=f"{broken} to engineer: FAILED"):
        must_reach([first])
    box.down, hook.status = False, 200
    second = deliver(settings, about(topic))
    assert dict(outcomes(second)) == {"mail": "known", "webhook": "known", broken: "sent"}
    must_reach([second])
    assert (len(box.take()), len(hook.take())) == (1, 1)
    assert [row[2] for row in recorded(settings, topic) if row[0] == broken] == ["failed", "sent"]


def test_a_server_that_is_not_there_is_a_failure_of_its_channel(module_warehouse: Settings, hook: Hook) -> None:
    settings = equipped(module_warehouse, hook=hook, HAILONG_SMTP_URL="smtp://127.0.0.1:1")
    assert outcomes(deliver(settings, about("deadline/away"))) == [("mail", "failed"), ("webhook", "sent")]
    assert recorded(settings, "deadline/away")[0][3] == "ConnectionRefusedError"


def test_neither_secret_nor_address_is_logged_recorded_or_told(
    module_warehouse: Settings, box: Mailbox, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    box.down, hook.status = True, 403
    settings = equipped(
        module_warehouse, box, hook, HAILONG_SMTP_URL=f"smtp://nguoi-gui:geheim@127.0.0.1:{box.port}",
        HAILONG_WEBHOOK_KEY="geheim",
    )  # fmt: skip
    deliveries = [deliver(settings, about("deadline/secret"))]
    box.down, box.refuse = False, {ENGINEER}
    deliveries.append(deliver(settings, about("deadline/secret")))
    deliveries.append(deliver(equipped(module_warehouse, box, None), about("deadline/secret")))
    assert [delivery.failed for delivery in deliveries] == [True] * 3
    with pytest.raises(TransientError) as caught:
        must_reach(deliveries)
    said = str(caught.value) + caplog.text + repr(deliveries) + str(recorded(settings, "deadline/secret"))
    assert "HTTP 403" in said and "421" in said and "every address refused: 550" in said
    assert "geheim" not in said and "@" not in said and "nguoi-gui" not in said


def test_an_address_can_not_be_recorded_nor_a_record_changed(module_warehouse: Settings) -> None:
    insert = (
        "insert into ops.notification (topic, state_sha256, channel, roles, outcome, detail) "
        "values ('t', repeat('a', 64), 'mail', '{engineer}', 'failed', %s)"
    )
    with connect(module_warehouse, role="hailong_publisher", autocommit=True) as connection:
        with pytest.raises(psycopg.errors.CheckViolation, match="without_address"):
            connection.execute(insert, ("550 a@b is not here",))
        connection.execute(insert, ("550",))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update ops.notification set outcome = 'sent'")
    with connect(module_warehouse, autocommit=True) as connection:
        for statement in ("delete from ops.notification", "truncate ops.notification"):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                connection.execute(statement)


def test_one_refused_address_of_a_role_is_told_and_the_mail_counts_as_sent(
    module_warehouse: Settings, box: Mailbox
) -> None:
    box.refuse = {OFFICE}
    settings = equipped(module_warehouse, box)
    delivery = deliver(settings, about("deadline/partly", roles=("office",)))
    assert delivery.attempts == (Attempt("mail", ("office",), "sent", "1 of 2 addresses refused"),)
    assert [mail.recipients for mail in box.take()] == [[ENGINEER]]


def test_a_mail_that_was_taken_is_sent_however_the_server_says_good_bye(
    module_warehouse: Settings, box: Mailbox
) -> None:
    box.rude = True
    settings = equipped(module_warehouse, box)
    assert outcomes(deliver(settings, about("deadline/rude"))) == [("mail", "sent")]
    assert outcomes(deliver(settings, about("deadline/rude"))) == [("mail", "known")]
    assert len(box.mails) == 1
    box.rude = False


def test_a_role_without_address_is_said_and_told_when_it_has_one(module_warehouse: Settings, box: Mailbox) -> None:
    settings = equipped(module_warehouse, box)
    delivery = deliver(settings, about("deadline/head", roles=("head",)))
    assert outcomes(delivery) == [("mail", "no_address")] and "HAILONG_MAIL_HEAD" in delivery.message
    later = deliver(equipped(module_warehouse, box, HAILONG_MAIL_HEAD=OFFICE), about("deadline/head", roles=("head",)))
    assert outcomes(later) == [("mail", "sent")]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HAILONG_SMTP_URL", "geheim"),
        ("HAILONG_SMTP_URL", "smtp://u:geheim@host:nonsense"),
        ("HAILONG_MAIL_FROM", ""),
        ("HAILONG_MAIL_ENGINEER", "geheim"),
        ("HAILONG_MAIL_ENGINEER", "geheim@example.invalid,\n other@example.invalid"),
        ("HAILONG_WEBHOOK_URL", "hooks.example.invalid/geheim"),
    ],
)
def test_a_channel_that_is_wrongly_set_up_fails_by_the_name_of_its_variable(
    module_warehouse: Settings, box: Mailbox, hook: Hook, variable: str, value: str
) -> None:
    settings = equipped(module_warehouse, box, hook, **{variable: value})
    delivery = deliver(settings, about(f"deadline/{variable}/{len(value)}"))
    assert sorted(outcome for _, outcome in outcomes(delivery)) == ["failed", "sent"]
    assert variable in delivery.message and "geheim" not in delivery.message


def test_nothing_configured_is_nobody_told(module_warehouse: Settings) -> None:
    assert not is_configured(module_warehouse)
    assert deliver(module_warehouse, about("deadline/nobody")).attempts == ()


def test_without_a_warehouse_the_message_goes_out_unrecorded(
    module_warehouse: Settings, box: Mailbox, hook: Hook
) -> None:
    away = replace(module_warehouse, dsn="postgresql://someone:geheim@127.0.0.1:1/none")
    delivery = deliver(equipped(away, box, hook), about("deadline/away"))
    assert outcomes(delivery) == [("mail", "sent"), ("webhook", "sent")]
    assert not delivery.recorded and "not recorded" in delivery.message
    assert told(away, "deadline/away") == {}


def test_the_webhook_can_prove_who_wrote_it(module_warehouse: Settings, hook: Hook) -> None:
    deliver(equipped(module_warehouse, hook=hook, HAILONG_WEBHOOK_KEY="khóa"), about("deadline/signed"))
    headers, body = hook.calls[0]
    assert headers["X-Hailong-Signature"] == "sha256=" + hmac.new("khóa".encode(), body, hashlib.sha256).hexdigest()
    assert json.loads(body)["topic"] == "deadline/signed"


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1 of its own, and the file that makes a client trust it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mailbox")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    trusted, secret = folder / "cert.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted


def test_a_password_goes_only_over_a_line_that_is_encrypted_and_proved(
    module_warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    with mailbox(context) as sealed, mailbox() as open_one:

        def told_by(box: Mailbox, topic: str, password: str = "m%40t%2Fkhau") -> Attempt:
            url = f"smtp://nguoi-gui:{password}@127.0.0.1:{box.port}"
            return deliver(equipped(module_warehouse, HAILONG_SMTP_URL=url), about(topic)).attempts[0]

        assert "no STARTTLS" in told_by(open_one, "deadline/clear").detail
        assert told_by(sealed, "deadline/stranger").detail == "SSLCertVerificationError"
        assert not sealed.mails and not open_one.mails
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert told_by(sealed, "deadline/wrong", "wrong").detail == "SMTPAuthenticationError 535"
        assert told_by(sealed, "deadline/letters", "kh%E1%BA%A9u").detail == "UnicodeEncodeError"
        assert told_by(sealed, "deadline/sealed").outcome == "sent"
        mail = sealed.mails[0]
        assert mail.encrypted and mail.login == ("nguoi-gui", "m@t/khau")
