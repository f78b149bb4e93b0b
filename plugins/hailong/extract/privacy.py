"""Pseudonyms of officials: `<key_id>:<HMAC-SHA-256>`, one key a calendar year. Still personal data, only never a name."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass, field

from hailong.errors import PermanentError
from hailong.settings import Settings

VARIABLE = "HAILONG_PSEUDONYM_KEY"
LEAST_BYTES = 32
_PSEUDONYM = re.compile(r"\d{4}:[0-9a-f]{64}")


@dataclass(frozen=True)
class Pseudonyms:
    """The key of one calendar year."""

    key_id: str
    _key: bytes = field(repr=False)

    @classmethod
    def load(cls, settings: Settings, year: int) -> Pseudonyms:
        """The key of a year from HAILONG_PSEUDONYM_KEY (`2026:<base64>[,2025:<base64>]`).

        PermanentError when there is none for the year or it is under 32 bytes; no part of a key is ever quoted.
        """
        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in settings.env.get(VARIABLE, "").split(","))):
            key_id, _, encoded = entry.partition(":")
            if not re.fullmatch(r"\d{4}", key_id) or not encoded:
                raise PermanentError(f"{VARIABLE} cannot be read: write <year>:<base64>, several separated by commas")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise PermanentError(
                    f"{VARIABLE}: the key of {key_id} is not base64: `hailong key make` makes one"
                ) from None
            if len(key) < LEAST_BYTES:
                raise PermanentError(
                    f"{VARIABLE}: the key of {key_id} has {len(key)} bytes, at least {LEAST_BYTES} are needed: "
                    f"`hailong key make --year {key_id}` makes one"
                )
            keys[key_id] = key
        if str(year) not in keys:
            raise PermanentError(
                f"{VARIABLE} holds no key for {year}, and this feed holds officials, who pass as pseudonyms only: "
                f"`hailong key make --year {year}` makes one; keep it where the other secrets are"
            )
        return cls(str(year), keys[str(year)])

    def secret_of(self, purpose: str) -> bytes:
        """A secret of its own for another purpose, which tells nothing of this key."""
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def of(self, person: str) -> str:
        """The pseudonym of a person as the source names them: same person and key, same pseudonym."""
        folded = " ".join(unicodedata.normalize("NFC", person).split()).casefold()
        return f"{self.key_id}:{hmac.digest(self._key, folded.encode(), 'sha256').hex()}"


def is_pseudonym(value: object) -> bool:
    return isinstance(value, str) and _PSEUDONYM.fullmatch(value) is not None


def make_key(year: int) -> str:
    """A new key in the form that HAILONG_PSEUDONYM_KEY takes."""
    return f"{year}:{base64.b64encode(secrets.token_bytes(LEAST_BYTES)).decode()}"


def local_keys(settings: Settings, year: int) -> str:
    """HAILONG_PSEUDONYM_KEY, or for a local installation without one a file of its own (0600) with the keys it needed so far."""
    given = settings.env.get(VARIABLE)
    if given:
        return given
    path = settings.home / "pseudonym.key"
    kept = path.read_text("ascii").strip() if path.is_file() else ""
    if not any(entry.startswith(f"{year}:") for entry in kept.split(",")):
        kept = ",".join(filter(None, (kept, make_key(year))))
        settings.home.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(kept)
        partial.replace(path)
    return kept
