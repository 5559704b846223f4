"""Pages and scripts for browsers, from the files of ``serving/assets``. What ``app`` mounts."""

from __future__ import annotations

from serving.pages import admin, demo, docs, tracker

GROUPS = tuple(group.endpoints for group in (demo, admin, docs, tracker))
