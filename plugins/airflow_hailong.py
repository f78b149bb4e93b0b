"""Airflow plugin: the reviewers' Data Docs and the report files in Airflow's own pages, for whoever may read them;
and the due moment of a period as a deadline.

The only plugin file (`.airflowignore` keeps the package beside it from being imported module by module). Every Airflow
process imports it, so it is light: what answers is loaded with the first request.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from hailong.airflow_deadline import PeriodDue


async def files(scope: Any, receive: Any, send: Any) -> None:
    """ASGI application under /hailong."""
    from hailong.airflow_files import app

    await app()(scope, receive, send)


class HailongPlugin(AirflowPlugin):
    name = "hailong"
    fastapi_apps: ClassVar[list[Any]] = [{"app": files, "url_prefix": "/hailong", "name": "hailong"}]
    deadline_references: ClassVar[list[Any]] = [PeriodDue]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Hài lòng: Data Docs, editions",
            "href": "/hailong/",
            "destination": "nav",
            "category": "browse",
            "url_route": "hailong-files",
        }
    ]
