"""The stand-in over HTTP: dossier service (/tthc), ratings (/rating), the portal's evaluation (/portal).

One process, one clock. What is answered is the state at the clock's moment: later records are absent, later changes
not yet made. `POST /_sandbox/clock {"now": "yyyyMMddHHmmss"}` moves it; `GET /_sandbox/health` needs no token.
`/_sandbox/faults` sets and tells what goes wrong on purpose (sandbox.faults).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import drops, indices
from sandbox.evaluations import Evaluations
from sandbox.faults import Faults
from sandbox.generator import City
from sandbox.petitions import PetitionFeed
from sandbox.portal import Portal
from sandbox.records import DossierFeed, RatingFeed, parse_wire, wire
from sandbox.registers import ROOT_DEPARTMENT, code_records, procedure_records, unit_records
from sandbox.sync import SyncFeed, portal_copy

DEFAULT_TOKEN = "sandbox-demo-token"
MAX_PAGE = 5000
DATABASE = "city.sqlite"
Handler = Callable[[Request], Awaitable[Response]]


class BadRequest(Exception):
    """The caller sent something that the service cannot read."""


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json", headers=headers)


@dataclass
class Sandbox:
    """The generated city, its clock and its drop folder."""

    city: City
    token: str
    now: int
    drop: Path | None = None
    flaky: int = 0  # every n-th data request is answered 503; 0: none
    requests: int = 0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.portal = Portal(self.city)
        self.indices = indices.Indices(self.city, self.portal)
        self.ratings = RatingFeed(self.city)
        self.copy = portal_copy(self.city)
        self.evaluations = Evaluations(self.city)
        self.set_clock(self.now)

    def set_clock(self, now: int) -> list[Path]:
        """Moves the clock; returns the workbooks that appeared in the drop folder."""
        self.now = now
        self.dossiers = DossierFeed(self.city, now)
        self._feeds: dict[str, SyncFeed | PetitionFeed] = {}
        if self.drop is None:
            return []
        written = drops.write(self.city, self.drop, now)
        self.evaluations.write_database(self.drop / DATABASE, now)
        return [*written, *self.evaluations.write_files(self.drop, now)]

    def portal_feed(self, name: str) -> SyncFeed | PetitionFeed:
        """The portal's dossiers or petitions at the clock's moment; made when first asked for."""
        if name not in self._feeds:
            made = SyncFeed(self.copy, self.now) if name == "DanhSachHoSo" else PetitionFeed(self.city, self.now)
            self._feeds[name] = made
        return self._feeds[name]


def _whole(value: object, name: str, low: int, high: int) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise BadRequest(f"{name}: a whole number is needed, got {value!r}") from None
    if isinstance(value, bool | float) or not low <= number <= high:
        raise BadRequest(f"{name}: {value!r} is not in {low}..{high}")
    return int(number)


def _moment(value: object, name: str) -> int:
    try:
        return parse_wire(value)
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None


def _day(value: object, name: str) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadRequest(f"{name}: a date yyyy-MM-dd is needed, got {value!r}") from None


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def build_app(sandbox: Sandbox) -> Starlette:
    """The web application around one generated city."""

    def guarded(handler: Handler, refuse: Callable[[str, int], Response]) -> Handler:
        async def run(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {sandbox.token}".encode()):
                return refuse("token missing or wrong: send Authorization: Bearer <token>", 401)
            sandbox.requests += 1
            if sandbox.flaky and sandbox.requests % sandbox.flaky == 0:
                return reply({"message": "temporarily unavailable"}, 503, {"Retry-After": "0"})
            try:
                return await handler(request)
            except BadRequest as error:
                return refuse(str(error), 400)

        return run

    # The dossier service says what is wrong in its own words, with HTTP 200, except for a refused token.
    def refuse_tthc(message: str, status: int) -> Response:
        code = "-3" if status == 401 else "3"
        return reply({"error_code": code, "error_message": message}, 401 if status == 401 else 200)

    def refuse(message: str, status: int) -> Response:
        return reply({"code": "UNAUTHORIZED" if status == 401 else "BAD_REQUEST", "message": message}, status)

    def tthc_page(body: dict[str, Any], total: int, field: str, page_of: Callable[[int, int], list[Any]]) -> Response:
        page = _whole(body.get("Trang", 1), "Trang", 1, 10**9)
        size = _whole(body.get("SoBanGhi", 1000), "SoBanGhi", 1, MAX_PAGE)
        low = min((page - 1) * size, total)
        return reply(
            {
                "error_code": "0",
                "error_message": "",
                "TongSo": total,
                "Trang": page,
                "SoBanGhi": size,
                field: page_of(low, min(low + size, total)),
            }
        )

    async def search_dossiers(request: Request) -> Response:
        body = await _body(request)
        since = _moment(body.get("TuNgayCapNhat"), "TuNgayCapNhat")
        until = _moment(body.get("DenNgayCapNhat"), "DenNgayCapNhat")
        low, high = sandbox.dossiers.window(since, until)
        return tthc_page(body, high - low, "DanhSachHoSo", lambda a, b: sandbox.dossiers.page(low + a, low + b))

    def changed_at_portal(field: str) -> Handler:
        async def run(request: Request) -> Response:
            body = await _body(request)
            since = _moment(body.get("TuNgayCapNhat"), "TuNgayCapNhat")
            until = _moment(body.get("DenNgayCapNhat"), "DenNgayCapNhat")
            feed = sandbox.portal_feed(field)
            low, high = feed.window(since, until)
            return tthc_page(body, high - low, field, lambda a, b: feed.page(low + a, low + b))

        return run

    def register(field: str, records: list[dict[str, Any]]) -> Handler:
        async def run(request: Request) -> Response:
            return tthc_page(await _body(request), len(records), field, lambda a, b: records[a:b])

        return run

    async def ratings(request: Request) -> Response:
        query = request.query_params
        since = _moment(query.get("updatedFrom"), "updatedFrom")
        until = _moment(query.get("updatedTo"), "updatedTo")
        page = _whole(query.get("page", "1"), "page", 1, 10**9)
        size = _whole(query.get("size", "1000"), "size", 1, MAX_PAGE)
        low, high = sandbox.ratings.window(since, until, sandbox.now)
        first = min(low + (page - 1) * size, high)
        items = sandbox.ratings.page(first, min(first + size, high))
        return reply({"total": high - low, "page": page, "size": size, "items": items})

    def unit_office(name: str) -> Handler:
        async def run(request: Request) -> Response:
            query = request.query_params
            since = _moment(query.get("updatedFrom"), "updatedFrom")
            until = _moment(query.get("updatedTo"), "updatedTo")
            page = _whole(query.get("page", "1"), "page", 1, 10**9)
            size = _whole(query.get("size", "500"), "size", 1, MAX_PAGE)
            found = sandbox.evaluations.changed(name, since, until, sandbox.now)
            items = found[(page - 1) * size : page * size]
            return reply({"total": len(found), "page": page, "size": size, "items": items})

        return run

    def calendar_window(asked: dict[str, Any]) -> tuple[date, date]:
        kind = asked.get("timeType")
        year = _whole(asked.get("year"), "year", 2000, 2100)
        part = 1 if kind == "year" else _whole(asked.get(str(kind)), str(kind), 1, 12)
        try:
            return indices.calendar_window(kind, year, part)
        except ValueError as error:
            raise BadRequest(str(error)) from None

    def evaluation_page(body: dict[str, Any]) -> tuple[int, int]:
        if body.get("rootDepartmentId", ROOT_DEPARTMENT) != ROOT_DEPARTMENT:
            raise BadRequest(f"unknown rootDepartmentId {body['rootDepartmentId']!r}")
        page = _whole(body.get("currentPage", 1), "currentPage", 1, 10**6)
        return page, _whole(body.get("pageSize", 100), "pageSize", 1, 1000)

    def calendar_group(path: str) -> Handler:
        """The groups that know calendar months, quarters and years only."""

        async def run(request: Request) -> Response:
            body = await _body(request)
            first, last = calendar_window(body)
            page, size = evaluation_page(body)
            return reply(sandbox.indices.answer(path, first, last, sandbox.now, page, size), 201)

        return run

    async def legacy(request: Request) -> Response:
        """The API to 2025: one form field `params` with JSON in it."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        try:
            asked = orjson.loads((form.get("params") or [""])[0])
        except orjson.JSONDecodeError:
            raise BadRequest("params: JSON is needed") from None
        if not isinstance(asked, dict) or asked.get("service") != indices.LEGACY_SERVICE:
            raise BadRequest(f"params.service: only {indices.LEGACY_SERVICE} is here")
        if asked.get("provinceCode") != indices.LEGACY_PROVINCE:
            raise BadRequest(f"params.provinceCode: only {indices.LEGACY_PROVINCE} is here")
        first, last = calendar_window(asked)
        if first.year not in indices.LEGACY_YEARS:
            raise BadRequest(f"params.year: {first.year} is not in this service")
        return reply({"code": "OK", "data": sandbox.indices.legacy(first, last)})

    async def evaluation(request: Request) -> Response:
        body = await _body(request)
        first, last = _day(body.get("fromDate"), "fromDate"), _day(body.get("toDate"), "toDate")
        if last < first:
            raise BadRequest(f"toDate {last} is before fromDate {first}")
        page, size = evaluation_page(body)
        return reply(sandbox.portal.answer(first, last, sandbox.now, page, size), 201)

    async def health(_: Request) -> Response:
        options = sandbox.city.options
        return reply(
            {
                "status": "ok",
                "now": wire(sandbox.now),
                "start": options.start.isoformat(),
                "end": options.end.isoformat(),
                "seed": options.seed,
                "size": options.size,
                "early_read": wire(sandbox.city.early_read),
            }
        )

    async def set_clock(request: Request) -> Response:
        now = _moment((await _body(request)).get("now"), "now")
        if now > sandbox.city.end:
            raise BadRequest(f"now: nothing exists after {wire(sandbox.city.end)}")
        written = sandbox.set_clock(now)
        return reply({"now": wire(now), "dropped": [path.name for path in written]})

    async def set_faults(request: Request) -> Response:
        text = (await _body(request)).get("faults", "")
        try:
            sandbox.faults.set(str(text))
        except ValueError as error:
            raise BadRequest(f"faults: {error}") from None
        return reply(sandbox.faults.report())

    async def tell_faults(_: Request) -> Response:
        return reply(sandbox.faults.report())

    async def not_found(request: Request, _: Exception) -> Response:
        return reply({"code": "NOT_FOUND", "message": f"no service at {request.method} {request.url.path}"}, 404)

    async def wrong_method(request: Request, error: Exception) -> Response:
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return reply({"code": "METHOD_NOT_ALLOWED", "message": f"not for {request.method}"}, 405, headers)

    def tthc(path: str, handler: Handler) -> Route:
        return Route(f"/tthc/{path}", guarded(handler, refuse_tthc), methods=["POST"])

    return Starlette(
        routes=[
            tthc("TraCuuHoSo", search_dossiers),
            tthc("LayDanhSachTTHC", register("DanhSachTTHC", procedure_records())),
            tthc("LayDanhMucCoQuan", register("DanhSachCoQuan", unit_records())),
            tthc("LayDanhMucMa", register("DanhSachMa", code_records())),
            Route("/portal/TraCuuHoSo", guarded(changed_at_portal("DanhSachHoSo"), refuse_tthc), methods=["POST"]),
            Route("/portal/TraCuuPAKN", guarded(changed_at_portal("DanhSachPAKN"), refuse_tthc), methods=["POST"]),
            Route("/rating/api/ratings", guarded(ratings, refuse), methods=["GET"]),
            Route(
                "/portal/api/v1/reporting/evaluation/handling-satisfaction",
                guarded(evaluation, refuse),
                methods=["POST"],
            ),
            *(
                Route(
                    f"/portal/api/v1/reporting/evaluation/{path}",
                    guarded(calendar_group(path), refuse),
                    methods=["POST"],
                )
                for path in indices.PATHS
            ),
            Route("/portal/jsp/rest.jsp", guarded(legacy, refuse), methods=["POST"]),
            *(
                Route(f"/unit_office/api/{name}", guarded(unit_office(name), refuse), methods=["GET"])
                for name in ("explanations", "actions", "disputes")
            ),
            Route("/_sandbox/health", health, methods=["GET"]),
            Route("/_sandbox/clock", guarded(set_clock, refuse), methods=["POST"]),
            Route("/_sandbox/faults", guarded(set_faults, refuse), methods=["POST"]),
            Route("/_sandbox/faults", guarded(tell_faults, refuse), methods=["GET"]),
        ],
        exception_handlers={404: not_found, 405: wrong_method},
    )
