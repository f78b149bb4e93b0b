"""Who owns what: the owner of a feed is the `team` of its contract; everything else is ours."""

from __future__ import annotations

import re
import unicodedata

OURS = "data-engineering"
SEPARATOR = "; "


def of(owner: str) -> tuple[str, ...]:
    """The owners that a finding names."""
    return tuple(owner.split(SEPARATOR))


def code(owner: str) -> str:
    """An owner's name in letters that a file or a variable may have: `Sở Nội vụ` → `so_noi_vu`."""
    plain = unicodedata.normalize("NFD", owner.replace("đ", "d").replace("Đ", "D")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def role(owner: str) -> str:
    """The role of `hailong.notify` that stands for an owner: its address is HAILONG_MAIL_<ROLE>."""
    return "engineer" if owner == OURS else f"owner_{code(owner)}"
