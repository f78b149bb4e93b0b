"""`python -m hailong.server init | health COMPONENT | COMMAND…`: the entry point of the image.

A command is run in place of this process, with the environment that `environment` puts together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from hailong import logs
from hailong.errors import HailongError, PermanentError, UsageError
from hailong.server.environment import environment


def main(arguments: Sequence[str]) -> NoReturn:
    """Exit status 0, 1 (refused or failed), 2 (wrong use), or that of the command."""
    try:
        logs.begin(" ".join(arguments[:1]))
        if not arguments:
            raise UsageError("nothing to run: write init, health COMPONENT, or a command")
        if arguments[0] == "init":
            from hailong.server.init import init

            init(os.environ)
            sys.exit(0)
        os.environ.update(made := environment(os.environ))
        for name in set(os.environ) - set(made):
            del os.environ[name]
        if arguments[0] == "health":
            from hailong.server.health import check

            check(" ".join(arguments[1:]))
            sys.exit(0)
        os.execvp(arguments[0], list(arguments))
    except UsageError as error:
        _fail("wrong use: ", error, 2)
    except HailongError as error:
        _fail("error: ", error, 1)
    except FileNotFoundError as error:
        missing = PermanentError(f"no such command in the image: {error.filename or arguments[0]}")
        _fail("", missing, 1)


def _fail(kind: str, error: HailongError, status: int) -> NoReturn:
    if logs.is_json():
        logs.tell_failure(logs.kind_of(error), str(error), status)
    else:
        print(f"{kind}{error}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
