"""Data Docs and editions as files, inside Airflow's API server and behind its log-in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from hailong.airflow_settings import FILES
from hailong.publish import points
from hailong.settings import Settings


def may_read(user: GetUserDep) -> None:
    """403 for a user none of whose roles may read these files; 401 has been said before to whoever is not logged in."""
    if not get_auth_manager().is_authorized_custom_view(method="GET", resource_name=FILES, user=user):
        raise HTTPException(403, "Forbidden")


@cache
def app() -> FastAPI:
    """The application: GET /data_docs/… and /editions/…, for users who may see Airflow's pages and read `FILES`."""
    settings = Settings.load()
    folders = {"data_docs": settings.data_docs, "editions": settings.editions}
    logged_in = [Depends(may_read)]
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/", dependencies=logged_in)
    def index() -> HTMLResponse:
        return HTMLResponse(listing(folders))

    @application.get("/{name}/{path:path}", dependencies=logged_in)
    def read(name: str, path: str) -> FileResponse:
        found = inside(folders.get(name), path)
        if found is None:
            raise HTTPException(404, "there is no such file: Data Docs come with the first run of the gate")
        return FileResponse(found)

    return application


def listing(folders: Mapping[str, Path]) -> str:
    """A page with the gate's runs (a folder each) and the editions' files, newest first."""
    titles = {"data_docs": "Data Docs", "editions": "Editions"}
    parts = ["<!doctype html><meta charset='utf-8'><title>Hài lòng</title><body style='font-family:sans-serif'>"]
    for name, folder in folders.items():
        parts.append(f"<h2>{titles[name]}</h2><ul>")
        pattern = "*/index.html" if name == "data_docs" else "[!.]*/*"
        found = (path for path in folder.glob(pattern) if inside(folder, path.relative_to(folder).as_posix()))
        for path in sorted(found, key=lambda found: found.stat().st_mtime, reverse=True):
            target = path.relative_to(folder).as_posix()
            shown = target.removesuffix("/index.html")
            parts.append(f"<li><a href='{escape(quote(f'{name}/{target}'))}'>{escape(shown)}</a></li>")
        parts.append("</ul>")
    return "".join(parts)


def inside(folder: Path | None, path: str) -> Path | None:
    """The file at `path` in the folder; None when there is none, it lies outside, or it is not for everybody who logs in: what
    is being made, and the points, which name single dossiers.
    """
    if folder is None or Path(path).name == points.NAME or any(part.startswith(".") for part in Path(path).parts):
        return None
    found = (folder / path).resolve()
    return found if found.is_file() and found.is_relative_to(folder.resolve()) else None
