"""Drop folders by address: a local path, or an fsspec URI (file://, s3://bucket/prefix, sftp://user@host/path).

HAILONG_SOURCE_<SYSTEM>_DROP is the folder, HAILONG_SOURCE_<SYSTEM>_OPTIONS a JSON object of what its storage needs (key,
secret, endpoint_url; username, password, port, host_key; …). Options hold secrets: neither they nor what a storage says of
them is ever quoted.

A file is read from a copy of its own, so a file that is written to meanwhile is noticed: it is left for the next time.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from hailong.contracts import Contract, FileDrop
from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.load.landing import sweep
from hailong.settings import Settings

# What clients call an upload that goes on.
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".uploading", ".swp", "~")
SETTLED = 1.0  # seconds: a file that was written to this shortly before is watched as long before it is taken
# Flat memory, and an answer in a time that a person waits.
DEFAULTS: dict[str, dict[str, Any]] = {
    "s3": {"max_concurrency": 1, "config_kwargs": {"connect_timeout": 15, "read_timeout": 60}},
}
REFUSALS = (
    "AuthenticationException", "BadAuthenticationType", "PasswordRequiredException", "NoCredentialsError",
    "PartialCredentialsError", "ClientError",
)  # fmt: skip
WRONG = ("ParamValidationError", "ProfileNotFound", "InvalidRegionError")
Stamp = tuple[object, ...]

log = logging.getLogger(__name__)


class Dropped(Protocol):
    """A file in a drop folder."""

    @property
    def name(self) -> str: ...

    def local(self) -> AbstractContextManager[Path]:
        """The file on this machine, as long as the block lasts."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file that is here already and that a person named."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def uri(self) -> str:
        return self.path.absolute().as_uri()

    @contextmanager
    def local(self) -> Iterator[Path]:
        yield self.path


@dataclass(frozen=True)
class DropFile:
    """A file as it was listed; it is copied under its own name and must not have changed until that is done."""

    system: str
    name: str
    uri: str
    stamp: Stamp
    copies: Path
    look: Callable[[], Stamp] = field(repr=False)
    fetch: Callable[[Path], None] = field(repr=False)

    @contextmanager
    def local(self) -> Iterator[Path]:
        self.copies.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self.copies) as folder:
            target = Path(folder) / self.name
            self._copy(target)
            yield target

    def _copy(self, target: Path) -> None:
        try:
            if self.look() != self.stamp:
                raise self._changed()
            try:
                self.fetch(target)
            except Exception:
                if self.look() != self.stamp:
                    raise self._changed() from None
                raise
            size = self.stamp[0]
            if self.look() != self.stamp or (size is not None and size != target.stat().st_size):
                raise self._changed()
        except HailongError:
            raise
        except FileNotFoundError:
            raise self._changed() from None
        except Exception as error:
            raise _explained(self.system, self.uri, error) from None

    def _changed(self) -> TransientError:
        return TransientError(
            f"{self.system}: {self.name} changed between listing and reading, so it is still being written or was taken away: "
            "it is left for the next time"
        )


def drop_address(settings: Settings, system: str) -> str:
    """Where files of a system are dropped: HAILONG_SOURCE_<SYSTEM>_DROP, else `drop/<system>` in HAILONG_HOME."""
    return settings.env.get(f"HAILONG_SOURCE_{system.upper()}_DROP") or str(settings.home / "drop" / system)


def drop_files(settings: Settings, contract: Contract) -> list[Dropped]:
    """Files of the feed in its drop folder, by name.

    PermanentError when there is none, or the folder may not be read; TransientError when the storage is away or every
    file is still being written.
    """
    connector = contract.connector
    if not isinstance(connector, FileDrop):
        raise UsageError(f"{contract.feed} is not a file feed: give --file")
    address = drop_address(settings, connector.system)
    copies = settings.home / "incoming"
    sweep(copies.glob("*"))  # copies hold what the door keeps out
    try:
        if "://" in address and not address.startswith("file://"):
            listed = _listed_remote(settings, connector.system, address, copies)
        else:
            listed = _listed_here(connector.system, address, copies)
    except HailongError:
        raise
    except Exception as error:
        raise _explained(connector.system, shown(address), error) from None
    wanted = sorted((file for file in listed if _matches(file.name, connector.pattern)), key=lambda file: file.name)
    found = [file for file in wanted if not _is_unfinished(file.name)]
    going_on = [file.name for file in wanted if _is_unfinished(file.name)]
    if going_on:
        log.warning("%s: still being written, left for the next time: %s", contract.feed, ", ".join(going_on))
    if not found and going_on:
        raise TransientError(
            f"{contract.feed}: in {shown(address)} there are only files that are still being written "
            f"({', '.join(going_on)}): they are taken when they have got their names"
        )
    if not found:
        raise PermanentError(
            f"{contract.feed}: no file {connector.pattern} in {shown(address)}: put one there, give --file, or set "
            f"HAILONG_SOURCE_{connector.system.upper()}_DROP to the folder where they are dropped"
        )
    if any(_is_fresh(file.stamp) for file in found):
        time.sleep(SETTLED)
    return list(found)


# -- here -------------------------------------------------------------------------------------------------------------


def _listed_here(system: str, address: str, copies: Path) -> list[DropFile]:
    folder = Path(address)
    if address.startswith("file://"):
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise PermanentError(f"{system}: {address} names a machine: mount its folder here, or use sftp://")
        folder = Path(unquote(parts.path))
    folder = folder.absolute()
    if not folder.is_dir():
        return []
    return [
        DropFile(
            system,
            path.name,
            path.as_uri(),
            _stat_stamp(path),
            copies,
            partial(_stat_stamp, path),
            partial(_copy, path),
        )
        for path in folder.iterdir()
        if path.is_file()
    ]


def _stat_stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


# -- elsewhere --------------------------------------------------------------------------------------------------------


def _listed_remote(settings: Settings, system: str, address: str, copies: Path) -> list[DropFile]:
    filesystem, folder = opened(address, options_in(settings, f"HAILONG_SOURCE_{system.upper()}_OPTIONS"))
    found = []
    for entry in filesystem.ls(folder, detail=True):
        path = str(entry["name"])
        name = path.rsplit("/", 1)[-1]
        if not name or entry.get("type") != "file":  # object storages list the folder itself as an empty object
            continue
        uri = f"{shown(address).rstrip('/')}/{name}"
        look, fetch = partial(_looked, filesystem, path), partial(_fetched, filesystem, path)
        found.append(DropFile(system, name, uri, _stamp(entry), copies, look, fetch))
    return found


def options_in(settings: Settings, variable: str) -> dict[str, Any]:
    """What a storage needs, from a variable that holds a JSON object; UsageError when it does not."""
    try:
        options = json.loads(settings.env.get(variable) or "{}")
    except json.JSONDecodeError:
        raise UsageError(f"{variable} is not JSON: write an object of storage options") from None
    if not isinstance(options, dict):
        raise UsageError(f"{variable} is not a JSON object of storage options")
    return options


def opened(address: str, options: dict[str, Any]) -> tuple[Any, str]:
    """(file system, path in it); the storage's own packages are imported here and not before."""
    scheme = address.partition("://")[0].lower()
    if scheme in ("sftp", "ssh"):
        from hailong.extract.sftp import CheckedSFTP

        given = CheckedSFTP._get_kwargs_from_urls(address)
        return CheckedSFTP(**{**given, **options}), CheckedSFTP._strip_protocol(address)
    import fsspec

    # A listing or a connection that was kept from an earlier call would hide what has come since.
    always = {"use_listings_cache": False, "skip_instance_cache": True}
    filesystem, folder = fsspec.url_to_fs(address, **{**always, **DEFAULTS.get(scheme, {}), **options})
    return filesystem, str(folder)


def _looked(filesystem: Any, path: str) -> Stamp:
    return _stamp(filesystem.info(path))


def _stamp(info: dict[str, Any]) -> Stamp:
    """Size, and checksum or time: object storages tell the time more exactly in a listing than of one object."""
    return info.get("size"), info.get("ETag") or info.get("mtime") or info.get("LastModified")


def _fetched(filesystem: Any, path: str, target: Path) -> None:
    filesystem.get_file(path, str(target))


# -- small things -----------------------------------------------------------------------------------------------------


def _matches(name: str, pattern: str) -> bool:
    """Whether a file is meant, also under an upload's preliminary name; letter case and Unicode form do not matter."""
    name, pattern = (unicodedata.normalize("NFC", word).lower() for word in (name, pattern))
    final = next((name.removesuffix(ending) for ending in UNFINISHED if name.endswith(ending)), name)
    return fnmatchcase(final.removeprefix("~$").lstrip("."), pattern)


def _is_unfinished(name: str) -> bool:
    return name.startswith((".", "~$")) or name.lower().endswith(UNFINISHED)


def _is_fresh(stamp: Stamp) -> bool:
    """Whether a file was written to just now. Object storages show whole objects only, and have checksums instead."""
    written = stamp[1].timestamp() if isinstance(stamp[1], datetime) else stamp[1]
    return isinstance(written, int | float) and abs(time.time() - written) < SETTLED + 1


def shown(address: str) -> str:
    """An address without the password that may stand in it."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _explained(system: str, what: str, error: Exception) -> PermanentError | TransientError:
    """What went wrong, by the kind of the error: its text may quote options."""
    kind = type(error).__name__
    options = f"HAILONG_SOURCE_{system.upper()}_OPTIONS"
    if isinstance(error, ImportError):
        return PermanentError(f"{system}: {what} needs a package that is missing ({error.name})")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return TransientError(f"{system}: there is no room to copy {what}: free some space in HAILONG_HOME")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return PermanentError(
            f"{system}: {what} does not exist, or nothing was put there yet: check HAILONG_SOURCE_{system.upper()}_DROP"
        )
    if kind in ("UnknownHostKey", "BadHostKeyException"):
        told = f" ({error})" if kind == "UnknownHostKey" else ""
        return PermanentError(
            f"{system}: {what} showed a host key that is not trusted{told}: compare it with its administrator, then give it as "
            f'host_key in {options} ("ssh-ed25519 AAAA…", as ssh-keyscan prints it)'
        )
    if isinstance(error, PermissionError) or kind in REFUSALS:
        return PermanentError(f"{system}: {what} may not be read ({kind}): check the credentials in {options}")
    if isinstance(error, TypeError | ValueError) or kind in WRONG:
        return PermanentError(f"{system}: {what} cannot be opened with these options ({kind}): check {options}")
    return TransientError(f"{system}: {what} cannot be reached ({kind}). Is the storage up? Try again later")
