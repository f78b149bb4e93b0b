"""`python -m hailong.server init | health COMPONENT | COMMAND…`: the entry point of the image.

A command is run in place of this process, with the environment that `environment` puts together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from hailong.errors import HailongError, UsageError
from hailong.server.environment import environment


def main(arguments: Sequence[str]) -> NoReturn:
    """Exit status 0, 1 (refused or failed), 2 (wrong use), or that of the command."""
    try:
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
        print(f"wrong use: {error}", file=sys.stderr)
        sys.exit(2)
    except HailongError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except FileNotFoundError as error:
        print(f"no such command in the image: {error.filename or arguments[0]}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
