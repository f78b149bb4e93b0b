"""Data Docs and editions as files, inside Airflow's API server and behind its log-in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse

from hailong.settings import Settings


@cache
def app() -> FastAPI:
    """The application: GET /data_docs/… and /editions/…, for users who may see Airflow's pages."""
    settings = Settings.load()
    folders = {"data_docs": settings.data_docs, "editions": settings.editions}
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/{name}/{path:path}", dependencies=[Depends(requires_access_view(AccessView.DOCS))])
    def read(name: str, path: str) -> FileResponse:
        found = inside(folders.get(name), path)
        if found is None:
            raise HTTPException(404, "there is no such file: Data Docs come with the first run of the gate")
        return FileResponse(found)

    return application


def inside(folder: Path | None, path: str) -> Path | None:
    """The file at `path` in the folder; None when there is none or it lies outside."""
    if folder is None:
        return None
    found = (folder / path).resolve()
    return found if found.is_file() and found.is_relative_to(folder.resolve()) else None
