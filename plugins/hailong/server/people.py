"""People of one server: who they are and which role they have, read from a file; passwords only on the way in."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from hailong.errors import PermanentError
from hailong.server.environment import is_placeholder

ROLE_NAMES = {"viewer": "Viewer", "engineer": "Engineer", "signer": "Signer"}
STORE = "airflow.providers.fab.auth_manager.security_manager.override"
NOT_STORED = "the user {} cannot be stored: does somebody who is not in the file of users have that address?"
NO_PASSWORD = "!"  # no hash is this: nobody gets in by a password


class Person(BaseModel):
    """One entry of the file. `password` counts when the user is made, and never again: people change theirs."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(pattern=r"^[^\s,]+$")  # HAILONG_SIGNERS is separated by commas
    role: Literal["viewer", "engineer", "signer"]
    first_name: str
    last_name: str
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    password: SecretStr | None = None
    active: bool = True


def read(path: Path) -> list[Person]:
    """The people of a YAML file; none when it is empty. PermanentError names entry and field, never a password."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PermanentError(
            f"the file of users (HAILONG_USERS) cannot be read: {error.strerror}. It must be readable for user 10001"
        ) from None
    try:
        found = TypeAdapter(list[Person]).validate_python(yaml.safe_load(text) or [])
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise PermanentError(
            f"the file of users is not YAML{f', line {where.line + 1}' if where else ''}: see users.example.yaml"
        ) from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise PermanentError(f"the file of users cannot be used ({faults}): see users.example.yaml") from None
    for what, names in (
        ("names", [person.username.lower() for person in found]),
        ("has the address", [person.email.lower() for person in found]),  # Airflow knows each once
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PermanentError(f"the file of users {what} {', '.join(twice)} twice")
    return found


def placeholders(people: Sequence[Person]) -> list[str]:
    """Names of those who still have a password out of the example."""
    return [
        person.username for person in people if person.password and is_placeholder(person.password.get_secret_value())
    ]


def unfit_signers(signers: Collection[str], people: Sequence[Person]) -> list[str]:
    """Names of HAILONG_SIGNERS that no active signer of the file has."""
    able = {person.username for person in people if person.role == "signer" and person.active}
    return sorted(set(signers) - able)


def apply(people: Sequence[Person], security: Any, by_password: bool) -> tuple[list[str], list[str]]:
    """Make and change users; names of those made, and of those changed. Who is not in the file stays as he is.

    `security` is Flask-AppBuilder's security manager, `by_password` whether people sign in by one: where a provider of
    identity is named, no signer has a password, or he could sign with it after the provider let him go. PermanentError when a
    new user needs one and has none, and when one cannot be stored.
    """
    made, changed = [], []
    # What it logs of an error holds the whole row, hash of the password included; it is told below by name.
    logging.getLogger(STORE).setLevel(logging.CRITICAL)
    for person in people:
        role = security.find_role(ROLE_NAMES[person.role])
        user = security.find_user(username=person.username)
        password = person.password.get_secret_value() if person.password else ""
        barred = not by_password and person.role == "signer"
        if user is None:
            if by_password and not password:
                raise PermanentError(f"the new user {person.username} has no password in the file of users")
            how = {"password": password} if password and not barred else {"hashed_password": NO_PASSWORD}
            try:
                user = security.add_user(
                    person.username, person.first_name, person.last_name, person.email, [role], **how
                )
            except Exception as error:  # its text may quote the row
                raise PermanentError(f"{NOT_STORED.format(person.username)} ({type(error).__name__})") from None
            made.append(person.username)
        wanted = (person.first_name, person.last_name, person.email, person.active, [role])
        held = (user.first_name, user.last_name, user.email, user.active, list(user.roles))
        if held != wanted or (barred and user.password != NO_PASSWORD):
            user.first_name, user.last_name, user.email, user.active, user.roles = wanted
            if barred:
                user.password = NO_PASSWORD
            if not security.update_user(user):
                raise PermanentError(NOT_STORED.format(person.username))
            changed.append(person.username)
    return made, changed
