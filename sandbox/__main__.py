"""`python -m sandbox serve|truth|drop`: the stand-in's command line."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from datetime import date, datetime
from pathlib import Path

from sandbox.faults import explain, parse_faults
from sandbox.options import SIZES, WIRE, Options, seconds

SYSTEMS = ("tthc", "rating", "portal", "unit_office")


def _size(text: str) -> int:
    return SIZES[text] if text in SIZES else int(text)


def _clock(text: str) -> datetime:
    for shape in (WIRE, "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(text, shape)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"{text!r} is no time: use yyyyMMddHHmmss, e.g. 20261014235959")


def _faults(text: str) -> str:
    try:
        parse_faults(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="sandbox",
        description="A deterministic stand-in for the city's systems and the national portal.",
        epilog="example: python -m sandbox serve --port 8766 --size small --drop /tmp/drop",
    )
    commands = main.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    default = Options()
    names = ", ".join(f"{name}={size}" for name, size in SIZES.items())
    shared.add_argument("--size", type=_size, default=default.size, help=f"number of dossiers, or {names}")
    shared.add_argument("--span-months", type=int, default=default.span_months, help="months before the end")
    shared.add_argument("--end", type=date.fromisoformat, default=default.end, help="last day, yyyy-MM-dd")
    shared.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same bytes")
    shared.add_argument("--bad-records", type=int, default=default.bad_records, help="unreadable dossiers on top")
    shared.add_argument(
        "--extensions", type=float, default=default.extensions,
        help="share of late dossiers whose due date is overwritten after an apology in the last 35 days",
    )  # fmt: skip
    shared.add_argument(
        "--deletions", type=int, default=default.deletions,
        help="dossiers that vanish from the city's feed when the clock reaches the end, half of them old",
    )  # fmt: skip
    shared.add_argument("--clock", type=_clock, help="the sources' present, yyyyMMddHHmmss (default: the end)")

    serve = commands.add_parser(
        "serve", parents=[shared], help="answer over HTTP until stopped, on 127.0.0.1 unless told otherwise",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"faults, [PATH:]NAME[xN|x*][=VALUE][@n|@last] (sandbox/faults.py), each with an example:\n{explain()}\n\n"
        "examples:\n  python -m sandbox serve --port 0 --ready-file /tmp/ready.json --size small\n"
        "  python -m sandbox serve --size small --faults 500x3@2 --faults rating:cut@1",
    )  # fmt: skip
    serve.add_argument("--port", type=int, default=8766, help="0 picks a free one")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; in a container 0.0.0.0")
    serve.add_argument("--token", help="bearer token that callers must send (default: a fixed demo token)")
    serve.add_argument("--drop", type=Path, help="folder for the posting checks (niem_yet_<yyyymm>.xlsx)")
    serve.add_argument("--ready-file", type=Path, help="write {port, pid, env, …} here when ready")
    serve.add_argument("--flaky", type=int, default=0, metavar="N", help="answer every N-th request with 503")
    serve.add_argument(
        "--faults", type=_faults, action="append", default=[], metavar="SPEC",
        help="what goes wrong on purpose: a comma list, may be repeated; see below, and POST /_sandbox/faults",
    )  # fmt: skip
    serve.add_argument("--json", action="store_true", help="print the ready message as one line of JSON")

    truth = commands.add_parser(
        "truth", parents=[shared], help="write what was generated and what it should score",
        epilog="example: python -m sandbox truth --out /tmp/truth --size small",
    )  # fmt: skip
    truth.add_argument("--out", type=Path, required=True, help="folder, made if missing")

    drop = commands.add_parser(
        "drop", parents=[shared], help="write the posting checks only",
        epilog="example: python -m sandbox drop --out /tmp/drop --clock 20260930235959",
    )  # fmt: skip
    drop.add_argument("--out", type=Path, required=True, help="folder, made if missing")
    return main


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        arguments.size, arguments.span_months, arguments.end, arguments.seed, arguments.bad_records,
        arguments.extensions, arguments.deletions,
    )  # fmt: skip


def environment(port: int, token: str, drop: Path | None = None) -> dict[str, str]:
    """What a caller puts into its environment to read from this server and its drop folders."""
    found = {}
    if drop:
        folder = drop.absolute()
        found["HAILONG_SOURCE_INSPECTION_DROP"] = str(folder)
        found["HAILONG_SOURCE_UNIT_OFFICE_DROP"] = str(folder / "unit_office")
        found["HAILONG_SOURCE_SURVEY_DROP"] = str(folder / "survey")
        found["HAILONG_SOURCE_INSTITUTIONAL_URL"] = f"sqlite:///{folder / 'city.sqlite'}"
    for system in SYSTEMS:
        found[f"HAILONG_SOURCE_{system.upper()}_URL"] = f"http://127.0.0.1:{port}/{system}"
        found[f"HAILONG_SOURCE_{system.upper()}_TOKEN"] = token
    return found


def serve(arguments: argparse.Namespace, options: Options, now: int) -> int:
    import uvicorn

    from sandbox.faults import FaultLayer
    from sandbox.generator import City
    from sandbox.records import wire
    from sandbox.server import DEFAULT_TOKEN, Sandbox, build_app

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((arguments.host, arguments.port))
    except (OSError, OverflowError) as error:
        print(
            f"sandbox: cannot listen on {arguments.host}:{arguments.port}: {error}; choose another --port",
            file=sys.stderr,
        )
        return 1
    port = listener.getsockname()[1]
    token = arguments.token or os.environ.get("SANDBOX_TOKEN") or DEFAULT_TOKEN
    sandbox = Sandbox(City(options), token, now, arguments.drop, arguments.flaky)

    def announce() -> None:
        ready = {
            "port": port,
            "pid": os.getpid(),
            "url": f"http://127.0.0.1:{port}",
            "token": token,
            "clock": wire(now),
            "start": options.start.isoformat(),
            "end": options.end.isoformat(),
            "early_read": options.early_read_at.strftime(WIRE),
            "drop": str(arguments.drop) if arguments.drop else None,
            "env": environment(port, token, arguments.drop),
        }
        if arguments.ready_file:
            partial = arguments.ready_file.with_name(arguments.ready_file.name + ".part")
            partial.write_text(json.dumps(ready), encoding="utf-8")
            partial.replace(arguments.ready_file)
        if arguments.json:
            print(json.dumps(ready), flush=True)
            return
        print(f"sandbox ready on http://127.0.0.1:{port}: {options.size:,} dossiers, "
              f"{options.start} to {options.end}, clock {wire(now)}")  # fmt: skip
        for name, value in environment(port, token, arguments.drop).items():
            print(f"export {name}={value}")
        sys.stdout.flush()

    class Announcing(uvicorn.Server):
        """Says that it is ready when it is, not when it was asked to start."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    sandbox.faults.set(",".join(arguments.faults))
    config = uvicorn.Config(
        FaultLayer(build_app(sandbox), sandbox.faults),
        log_level="warning", access_log=False, lifespan="off", date_header=False,
    )  # fmt: skip
    Announcing(config).run(sockets=[listener])
    return 0


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 refused or failed, 2 wrong use."""
    arguments = parser().parse_args(argv)
    try:
        options = _options(arguments)
    except ValueError as error:
        parser().error(str(error))
    clock = arguments.clock or options.end_at
    if clock > options.end_at:
        parser().error(f"--clock: nothing exists after {options.end_at}")
    now = seconds(clock)
    if arguments.command == "serve":
        return serve(arguments, options, now)

    from sandbox.generator import City

    if arguments.command == "drop":
        from sandbox import drops

        for path in drops.write(City(options), arguments.out, now):
            print(path)
        return 0
    from sandbox import truth

    for path in truth.write(City(options), arguments.out, now):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
