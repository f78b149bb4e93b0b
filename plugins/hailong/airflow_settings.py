"""What every Airflow of ours is told, in the local stack and in containers: one home for each setting."""

from __future__ import annotations

from collections.abc import Mapping

from hailong import logs
from hailong.settings import Settings

FILES = "Hailong Files"  # what a role must be allowed to read to see Data Docs and editions in Airflow's pages


def shared(settings: Settings) -> dict[str, str]:
    """Environment that does not depend on how Airflow is run."""
    return {
        "PYTHONUNBUFFERED": "1",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.project / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": settings.timezone,
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # getfqdn asks the network
        "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "3",
        "AIRFLOW__API__WORKERS": "1",
        # A worker notices the end of its task after up to this long: at the default of 5 s an approval that comes
        # sooner is taken for a killed task (see AirflowApi.wait_for_question), and slots stay taken.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",  # a killed task is noticed within about a minute
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__JSON_LOGS": str(logs.wants_json(settings.env)),
    }


def signed(fernet: str, secret: str, jwt: str) -> Mapping[str, str]:
    """The three keys: of stored passwords, of sessions, of tokens."""
    return {
        "AIRFLOW__CORE__FERNET_KEY": fernet,
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": jwt,
    }
