"""Drop folders by address: a local path, or an fsspec URI (file://, s3://bucket/prefix, sftp://user@host/path).

HAILONG_SOURCE_<SYSTEM>_DROP is the folder, HAILONG_SOURCE_<SYSTEM>_OPTIONS a JSON object of what its storage needs (key,
secret, endpoint_url, port, …); options hold secrets and are never quoted.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from hailong.contracts import Contract, FileDrop
from hailong.errors import PermanentError, TransientError, UsageError
from hailong.settings import Settings

UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart")  # what clients call an upload that goes on
CHUNK = 1 << 20


class Dropped(Protocol):
    """A file in a drop folder."""

    @property
    def name(self) -> str: ...

    def local(self) -> AbstractContextManager[Path]:
        """The file on this machine, as long as the block lasts."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file that is here already."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @contextmanager
    def local(self) -> Iterator[Path]:
        yield self.path


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote storage; fetched a piece at a time into a temporary folder under its own name."""

    system: str
    remote: str
    size: int | None
    filesystem: Any = field(repr=False)

    @property
    def name(self) -> str:
        return self.remote.rsplit("/", 1)[-1]

    @contextmanager
    def local(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="hailong-drop-") as folder:
            target = Path(folder) / self.name
            try:
                with self.filesystem.open(self.remote, "rb") as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, CHUNK)
            except Exception as error:
                raise _explained(self.system, self.name, error) from None
            size = target.stat().st_size
            if self.size is not None and size != self.size:
                raise TransientError(
                    f"{self.system}: {self.name} had {self.size:,} bytes when it was listed and {size:,} when it was read: it "
                    "is still being written. It is taken the next time"
                )
            yield target


def drop_address(settings: Settings, system: str) -> str:
    """Where files of a system are dropped: HAILONG_SOURCE_<SYSTEM>_DROP, else `drop/<system>` in HAILONG_HOME."""
    return settings.env.get(f"HAILONG_SOURCE_{system.upper()}_DROP") or str(settings.home / "drop" / system)


def drop_files(settings: Settings, contract: Contract) -> list[Dropped]:
    """Files of the feed in its drop folder, by name; PermanentError when there is none."""
    connector = contract.connector
    if not isinstance(connector, FileDrop):
        raise UsageError(f"{contract.feed} is not a file feed: give --file")
    address = drop_address(settings, connector.system)
    found: list[Dropped]
    if "://" not in address or address.startswith("file://"):
        folder = Path(urlsplit(address).path if address.startswith("file://") else address).absolute()
        paths = sorted(folder.glob(connector.pattern)) if folder.is_dir() else []
        found = [LocalFile(path) for path in paths if path.is_file() and not _is_unfinished(path.name)]
    else:
        found = list(_listed(settings, connector, address))
    if not found:
        raise PermanentError(
            f"{contract.feed}: no file {connector.pattern} in {_shown(address)}: put one there, give --file, or set "
            f"HAILONG_SOURCE_{connector.system.upper()}_DROP to the folder where they are dropped"
        )
    return found


def _listed(settings: Settings, connector: FileDrop, address: str) -> list[RemoteFile]:
    import fsspec

    variable = f"HAILONG_SOURCE_{connector.system.upper()}_OPTIONS"
    try:
        options = json.loads(settings.env.get(variable) or "{}")
    except json.JSONDecodeError:
        raise UsageError(f"{variable} is not JSON: write an object of storage options") from None
    if not isinstance(options, dict):
        raise UsageError(f"{variable} is not a JSON object of storage options")
    try:
        # A listing that was kept from an earlier call would hide what has come since.
        filesystem, folder = fsspec.url_to_fs(address, **{"use_listings_cache": False, **options})
        entries = filesystem.ls(folder, detail=True)
    except ImportError as error:
        raise PermanentError(
            f"{connector.system}: {_shown(address)} needs a package that is missing: {error}"
        ) from None
    except Exception as error:
        raise _explained(connector.system, _shown(address), error) from None
    files = [
        RemoteFile(connector.system, str(entry["name"]), entry.get("size"), filesystem)
        for entry in entries
        if entry.get("type") == "file"
    ]
    wanted = [file for file in files if fnmatch(file.name, connector.pattern) and not _is_unfinished(file.name)]
    return sorted(wanted, key=lambda file: file.name)


def _is_unfinished(name: str) -> bool:
    return name.startswith((".", "~$")) or name.endswith(UNFINISHED)


def _shown(address: str) -> str:
    """An address without the password that may stand in it."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _explained(system: str, what: str, error: Exception) -> PermanentError | TransientError:
    """What storages say, by the kind of the error; its text may quote options and is left out."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return PermanentError(f"{system}: {what} does not exist: check HAILONG_SOURCE_{system.upper()}_DROP")
    refused = ("AuthenticationException", "BadAuthenticationType", "NoCredentialsError", "ClientError")
    if isinstance(error, PermissionError) or kind in refused:
        return PermanentError(
            f"{system}: {what} may not be read ({kind}): check the credentials in HAILONG_SOURCE_{system.upper()}_OPTIONS"
        )
    if isinstance(error, TypeError | ValueError):
        return PermanentError(
            f"{system}: {what} cannot be opened with these options ({kind}): check HAILONG_SOURCE_{system.upper()}_OPTIONS"
        )
    return TransientError(f"{system}: {what} cannot be reached ({kind}). Is the storage up? Try again later")
