"""The place of backups: a folder (path or file://), or what fsspec reaches (s3://bucket/prefix, sftp://user@host/path).

HAILONG_BACKUP_OPTIONS is a JSON object of what that storage needs; it holds secrets and is never quoted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.extract.storage import DEFAULTS, REFUSALS, WRONG, opened, options_in, shown
from hailong.load.landing import STALE_SECONDS
from hailong.settings import Settings

OPTIONS = "HAILONG_BACKUP_OPTIONS"
PIECE = 1 << 20  # bytes in memory at once


class Store(Protocol):
    """Files by name, each whole or not there."""

    @property
    def shown(self) -> str:
        """Where it is, without a password."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Name below a folder → bytes; empty when there is none."""
        ...

    def keep(self, path: Path, name: str) -> None:
        """Take a file over under a name; what stood there is replaced. The file is gone here afterwards."""
        ...

    def read(self, name: str) -> BinaryIO: ...

    def remove(self, name: str) -> None: ...

    @property
    def scratch(self) -> Path:
        """Folder on this machine for what is being made."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or one that is mounted here."""

    root: Path

    @property
    def shown(self) -> str:
        return str(self.root)

    @property
    def scratch(self) -> Path:
        return self.root / "unfinished"  # beside the objects: renaming is enough

    def sizes(self, folder: str) -> dict[str, int]:
        place = self.root / folder
        if not place.is_dir():
            return {}
        return {path.name: path.stat().st_size for path in place.iterdir() if path.is_file()}

    def keep(self, path: Path, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(path)
        path.replace(target)
        sync(target.parent)

    def read(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Remote:
    """A storage behind fsspec."""

    shown: str
    scratch: Path
    root: str
    filesystem: Any = field(repr=False)

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            found = self.filesystem.ls(f"{self.root}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        files = ((str(entry["name"]).rsplit("/", 1)[-1], entry) for entry in found if entry.get("type") == "file")
        return {name: int(entry["size"]) for name, entry in files if name}

    def keep(self, path: Path, name: str) -> None:
        self.filesystem.makedirs(f"{self.root}/{name}".rsplit("/", 1)[0], exist_ok=True)
        target = f"{self.root}/{name}"
        if "sftp" in self.filesystem.protocol:  # it shows what has come in so far; object storages show whole ones only
            self.filesystem.put_file(str(path), f"{target}.part")
            self.filesystem.mv(f"{target}.part", target)
        else:
            self.filesystem.put_file(str(path), target)
        path.unlink()

    def read(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self.filesystem.open(f"{self.root}/{name}", "rb"))

    def remove(self, name: str) -> None:
        self.filesystem.rm_file(f"{self.root}/{name}")


def open_store(settings: Settings, address: str) -> Store:
    """The place that an address names; nothing is made or looked at yet."""
    if "://" in address and not address.startswith("file://"):
        options = {**DEFAULTS.get(address.partition("://")[0].lower(), {}), **options_in(settings, OPTIONS)}
        with told(shown(address)):
            filesystem, root = opened(address, options)
        return Remote(shown(address), settings.home / "backup", root.rstrip("/"), filesystem)
    if address.startswith("file://"):
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{address} names a machine: mount its folder here, or use sftp://")
        address = unquote(parts.path)
    if not address:
        raise UsageError("the place of the backups is empty: give a folder, file://…, s3://… or sftp://…")
    place = Path(address).absolute()
    if place.is_relative_to(settings.home.resolve()) or place.resolve().is_relative_to(settings.home.resolve()):
        raise UsageError(f"{place} lies in HAILONG_HOME, whose loss it is there for: choose a place on another disk")
    return Folder(place)


@contextmanager
def told(place: str) -> Iterator[None]:
    """What a storage raises, as an error of ours, by its kind: its text may quote options."""
    try:
        yield
    except HailongError:
        raise
    except Exception as error:
        kind = type(error).__name__
        if isinstance(error, ImportError):
            raise PermanentError(f"{place} needs a package that is missing ({error.name})") from None
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise TransientError(f"there is no room left at {place} or in HAILONG_HOME: free some space") from None
        if isinstance(error, PermissionError) or kind in REFUSALS:
            raise PermanentError(f"{place} refused ({kind}): check its permissions, or {OPTIONS}") from None
        if kind in WRONG or kind in ("UnknownHostKey", "BadHostKeyException"):
            raise PermanentError(f"{place} cannot be opened with these options ({kind}): check {OPTIONS}") from None
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("botocore", "paramiko", "s3fs"):
            raise TransientError(f"{place} cannot be reached or broke off ({kind}). Try again later") from None
        raise


@contextmanager
def scratch_file(store: Store) -> Iterator[Path]:
    """A name for a file that is being made; what is left of it goes when the block ends, or a day later."""
    store.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = store.scratch / uuid.uuid4().hex
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def private(path: Path) -> BinaryIO:
    """A new file that only its owner may read: a backup holds personal data."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def digest_of(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := source.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def copied(source: BinaryIO, target: Path) -> tuple[str, int]:
    """Copy into a new private file: SHA-256 and bytes of what was copied."""
    digest, size = hashlib.sha256(), 0
    with private(target) as out:
        while piece := source.read(PIECE):
            digest.update(piece)
            size += out.write(piece)
    return digest.hexdigest(), size


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(store: Store) -> None:
    """Remove what killed runs left in the scratch folder, once it is a day old."""
    for path in store.scratch.iterdir() if store.scratch.is_dir() else ():
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
