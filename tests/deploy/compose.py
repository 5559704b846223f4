"""What of docker-compose.yml and deploy/Dockerfile the tests read, as Docker reads it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = DEPLOY / "Dockerfile"
SECRETS = {"POSTGRES_PASSWORD": "p@ss/w:rd", "GRAFANA_PASSWORD": "secret"}
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])((?:\$\{[^{}]*\}|[^{}])*))?\})")


class MissingVariable(Exception):
    """A variable that Compose insists on is not set."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """``${A}``, ``${A:-default}``, ``${A:?message}`` and ``$$``, as the Compose specification
    has them; a default may hold variables.

    Raises:
        MissingVariable: a ``:?`` variable is empty or unset.
    """

    def value(match: re.Match[str]) -> str:
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        found = variables.get(name, "")
        if kind and not found:
            if kind == "?":
                raise MissingVariable(f"{name}: {rest}")
            return interpolate(rest, variables)
        return found

    return _VARIABLE.sub(value, text)


def interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    """The same in every string of a YAML document."""
    if isinstance(node, dict):
        return {key: interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def load(variables: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """The Compose file as Docker would run it with these variables and no others."""
    return interpolated(yaml.safe_load(FILE.read_text(encoding="utf-8")), variables)


def ours(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Services that run the image of deploy/Dockerfile."""
    return {name: each for name, each in document["services"].items() if "build" in each}


def instructions(dockerfile: Path = DOCKERFILE) -> list[tuple[int, str, str]]:
    """Stage (from 0; -1 before the first), instruction and arguments of each line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stage, found = -1, []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            stage += word == "FROM"
            found.append((stage, word, rest.strip()))
    return found


def image_environment() -> dict[str, str]:
    """ENV of the last stage, where PATH of the base is left out."""
    lines = instructions()
    last = lines[-1][0]
    return dict(
        pair.split("=", 1)
        for stage, word, rest in lines
        if (stage, word) == (last, "ENV")
        for pair in shlex.split(rest)
    )


def copies() -> list[tuple[int, list[str], str]]:
    """Stage, sources in the build context and target of each COPY that is from the context."""
    found = []
    for stage, word, rest in instructions():
        if word == "COPY" and "--from=" not in rest:
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            found.append((stage, sources, target))
    return found
