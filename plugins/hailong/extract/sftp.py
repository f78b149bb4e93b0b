"""fsspec's SFTP with what a drop folder in a city's network needs: a server that proves who it is, time-outs, flat memory.

Imported only when an sftp:// address is read: paramiko is heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from hailong.errors import PermanentError

TIMEOUT = 30  # seconds
PIECE = 2 << 20  # bytes of a file that are on their way at once, asked for 32 KB each


class UnknownHostKey(paramiko.SSHException):  # type: ignore[misc]
    """The server's key is not among those that are trusted."""


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        raise UnknownHostKey(f"{key.get_name()} {key.fingerprint}")


class CheckedSFTP(SFTPFileSystem):  # type: ignore[misc]
    """SFTP to a server whose key is known: by the option `host_key` ("ssh-ed25519 AAAA…"), else by known_hosts.

    Without the check whoever sits on the road could hand over files of his own.
    """

    cachable = False  # a connection that broke would be handed out again

    def __init__(self, host: str, host_key: str | None = None, **options: Any) -> None:
        self._host_key = host_key
        limits = {"timeout": TIMEOUT, "banner_timeout": TIMEOUT, "auth_timeout": TIMEOUT}
        super().__init__(host, **{"host_key_policy": _Refuse(), **limits, **options})

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(self.host_key_policy)
        self.client.load_system_host_keys()
        if self._host_key:
            kind, _, body = self._host_key.strip().partition(" ")
            port = int(self.ssh_kwargs.get("port") or paramiko.config.SSH_PORT)
            name = self.host if port == paramiko.config.SSH_PORT else f"[{self.host}]:{port}"
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {body.split()[0]}")
            except (IndexError, paramiko.SSHException):
                entry = None
            if entry is None:
                raise PermanentError(
                    "the storage option host_key is not a key: write its kind and its body, as ssh-keyscan prints them"
                )
            self.client.get_host_keys().add(name, kind, entry.key)
        try:
            self.client.connect(self.host, **self.ssh_kwargs)
            self.client.get_transport().set_keepalive(TIMEOUT)
            self.ftp = self.client.open_sftp()
            self.ftp.get_channel().settimeout(TIMEOUT)
        except BaseException:
            self.client.close()
            raise

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        """Piece by piece: of paramiko's own way a thread is left that asks for ever once a connection broke."""
        path = self._strip_protocol(rpath)
        size = int(self.ftp.stat(path).st_size)
        with self.ftp.open(path, "rb") as source, Path(lpath).open("wb") as target:
            for start in range(0, size, PIECE):
                target.writelines(source.readv([(start, min(PIECE, size - start))]))

    def close(self) -> None:
        self.client.close()
