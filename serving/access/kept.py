"""What was known last of keys and secrets, in a file: for a worker that starts while Postgres is
away. It holds hashes of keys, and the secrets that sign tokens, so only its owner may read it."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from storage.operations.keys import LiveKey, TokenSecret

Known = tuple[list[LiveKey], list[TokenSecret]]


def keep(file: Path, known: Known) -> None:
    """Write it, all or nothing.

    Raises:
        OSError: the disk is full, or there is no right to write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(orjson.dumps([[asdict(record) for record in part] for part in known], _text))
    partial.replace(file)


def recall(file: Path) -> Known | None:
    """What was kept; None: nothing, or it cannot be read."""
    try:
        keys, secrets = orjson.loads(file.read_bytes())
        return (
            [LiveKey(**{**key, "key_hash": b64decode(key["key_hash"])}) for key in keys],
            [TokenSecret(secret["id"], b64decode(secret["secret"])) for secret in secrets],
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _text(value: Any) -> str:
    return b64encode(value).decode()
