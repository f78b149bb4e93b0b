"""The environment of a container: secrets out of files, database addresses and Airflow's settings out of few variables.

`docker-compose.yml` gives each service only what it needs; what is put together here (addresses with passwords in them)
exists in that process alone and is in no file.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from hailong import airflow_settings
from hailong.errors import PermanentError, UsageError
from hailong.settings import Settings

# May be given as NAME, or as NAME_FILE: a file that holds it.
SECRETS = (
    "POSTGRES_PASSWORD", "HAILONG_DB_PASSWORD", "AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET", "REDIS_PASSWORD", "HAILONG_PSEUDONYM_KEY", "HAILONG_SMTP_URL", "HAILONG_WEBHOOK_KEY",
    "HAILONG_OIDC_CLIENT_SECRET", "HAILONG_BACKUP_OPTIONS", "OPENLINEAGE_API_KEY",
)  # fmt: skip
SOURCE_SECRET = re.compile(r"HAILONG_SOURCE_[A-Z_]+_(URL|TOKEN|OPTIONS)")
KEYS = ("AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET")
DATABASE_HOST = "postgres"
WAREHOUSE, METADATA = "hailong", "airflow"  # database and user alike
API_PORT = 8080
AIRFLOW_HOME = "/var/lib/airflow"
BROKER = "redis"
PLACEHOLDER = "change-me"
IN_FILE = "in-file"  # stands in .env for what NAME_FILE names


def resolved(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without empty variables, and with the content of each NAME_FILE under NAME.

    PermanentError names a file that cannot be read; never what is in it.
    """
    found = {name: value for name, value in env.items() if value != ""}
    for name in list(found):
        secret = name.removesuffix("_FILE")
        if secret != name and (secret in SECRETS or SOURCE_SECRET.fullmatch(secret)):
            try:
                found[secret] = Path(found.pop(name)).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise PermanentError(f"{name} names {error.filename}, which cannot be read: {error.strerror}") from None
    return found


def is_placeholder(value: str) -> bool:
    """True for a secret of `.env.example` that nobody replaced, also inside base64 (keys)."""
    if PLACEHOLDER in value.lower() or value == IN_FILE:
        return True
    for part in re.split(r"[:,]", value):
        try:
            if PLACEHOLDER.encode() in base64.b64decode(part.translate(str.maketrans("-_", "+/")), validate=True):
                return True
        except binascii.Error:
            continue
    return False


def profiles(env: Mapping[str, str]) -> set[str]:
    """Compose profiles that are on, as `.env` names them."""
    return {name.strip() for name in env.get("HAILONG_PROFILES", "").split(",") if name.strip()}


def database(user: str, password: str, driver: str = "postgresql", name: str | None = None) -> str:
    """Address of a database of ours: whatever the password holds."""
    return f"{driver}://{user}:{quote(password, safe='')}@{DATABASE_HOST}:5432/{name or user}"


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What the process of a container gets to see: `resolved`, HAILONG_DSN where it has the password, and Airflow's settings.

    UsageError when the executor is not one of the two.
    """
    found = resolved(env)
    if password := found.pop("HAILONG_DB_PASSWORD", ""):
        found["HAILONG_DSN"] = database(WAREHOUSE, password)
    if password := found.pop("AIRFLOW_DB_PASSWORD", ""):
        found |= airflow(found, password)
        found["HAILONG_AIRFLOW_DSN"] = database(METADATA, password)  # for those who look at it from our side
    for name in (*KEYS, "REDIS_PASSWORD"):  # under Airflow's own names from here on
        found.pop(name, None)
    return found


def airflow(env: Mapping[str, str], password: str) -> dict[str, str]:
    """Airflow's settings on one server, as environment variables."""
    settings = Settings.load(env)
    executor = env.get("AIRFLOW_EXECUTOR", "LocalExecutor")
    if executor not in ("LocalExecutor", "CeleryExecutor"):
        raise UsageError(f"AIRFLOW_EXECUTOR is {executor!r}: write LocalExecutor or CeleryExecutor")
    url = env.get("HAILONG_URL", f"http://127.0.0.1:{API_PORT}").rstrip("/")
    behind_tls = str(url.startswith("https://"))
    uri = database(METADATA, password, "postgresql+psycopg2")
    found = {
        **airflow_settings.shared(settings),
        **airflow_settings.signed(*(env.get(name, "") for name in KEYS)),
        "AIRFLOW_HOME": AIRFLOW_HOME,
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__PARALLELISM": env.get("HAILONG_PARALLELISM", "4"),
        "AIRFLOW__CORE__AUTH_MANAGER": "hailong.airflow_auth.HailongAuthManager",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://api-server:{API_PORT}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": uri,
        "AIRFLOW__API__PORT": str(API_PORT),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__FAB__CONFIG_FILE": str(Path(__file__).parent / "webserver_config.py"),
        "AIRFLOW__FAB__COOKIE_SECURE": behind_tls,
        "AIRFLOW__FAB__ENABLE_PROXY_FIX": behind_tls,
        "AIRFLOW__FAB__SESSION_LIFETIME_MINUTES": "60",
        "AIRFLOW__FAB__SESSION_MAX_LIFETIME_MINUTES": "600",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{AIRFLOW_HOME}/logs",
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": f"{AIRFLOW_HOME}/logs/dag_processor",
        # The demo's sources have a past of their own: as in `hailong demo`, only triggered runs start there.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str("demo" not in profiles(env)),
    }
    if executor == "CeleryExecutor":
        found |= {
            "AIRFLOW__CELERY__BROKER_URL": f"redis://:{quote(env.get('REDIS_PASSWORD', ''), safe='')}@{BROKER}:6379/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{uri}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": env.get("HAILONG_WORKER_CONCURRENCY", "2"),
            "AIRFLOW__LOGGING__TASK_LOGS_TO_STDOUT": "True",  # as LocalExecutor does by itself: one place for a collector
            "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",  # a task that waits belongs to whoever is free
        }
    explicit = {name: value for name, value in env.items() if name.startswith("AIRFLOW__")}
    return found | explicit
