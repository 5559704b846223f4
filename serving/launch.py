"""How the feed is started: the command and its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storage.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def feed_command(settings: Settings) -> list[str]:
    """The feed on the port of ``settings``, with its workers; run it in ``ROOT``."""
    return [
        *(sys.executable, "-m", "serving.runner"),
        *("--host", settings.host),
        *("--port", str(settings.feed_port)),
    ]


def feed_environment(settings: Settings) -> dict[str, str]:
    """The whole environment of that command: ours, these settings, BentoML kept in our home."""
    home = settings.home / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    return {
        **settings_environment(settings),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",  # "1" means no to BentoML
    }


def settings_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with ``settings`` in it, for a command of ours in any folder."""
    given = {
        f"FEEDWRIGHT_{name.upper()}": str(value)
        for name in type(settings).model_fields
        if (value := getattr(settings, name)) is not None
    }
    profile = Path(settings.profile)
    if profile.is_file():
        given["FEEDWRIGHT_PROFILE"] = str(profile.resolve())
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **given,
        "PYTHONPATH": os.pathsep.join(paths),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
