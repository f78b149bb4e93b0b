"""Which of the installed packages the application needs, by what they themselves declare.

The lock holds the developers' tools too (one resolution, one set of hashes); an image has no use for them. No import of
ours: it runs where half of them are about to go.
"""

from __future__ import annotations

import argparse
from importlib.metadata import Distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

KEPT = {canonicalize_name("pip")}


def needed(root: str, installed: dict[NormalizedName, Distribution]) -> set[NormalizedName]:
    """Names that `root` needs, itself included, without its extras. KeyError names a package that is missing."""
    reached: set[tuple[NormalizedName, str]] = set()
    todo = [(canonicalize_name(root), "")]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for line in installed[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in reached}


def unneeded(root: str = "hailong") -> list[str]:
    """Installed packages that `root` does not need, in order."""
    return sorted(set(_installed()) - needed(root, _installed()) - KEPT)


def _installed() -> dict[NormalizedName, Distribution]:
    return {canonicalize_name(found.metadata["Name"]): found for found in distributions()}


def main() -> None:
    """`python -m hailong.installed [--unneeded]`: one name a line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--unneeded", action="store_true", help="those that could go, instead of those that are needed")
    print("\n".join(unneeded() if parser.parse_args().unneeded else sorted(needed("hailong", _installed()))))


if __name__ == "__main__":
    main()
