"""How the cases are run: each function returns a document that ``case.yaml`` is compared with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from feedwright.loading import Form, detect
from storage.log import LoadError
from storage.mapping import load_mapping
from storage.readers import read_log
from storage.validation import validate


def dry_run(
    folder: Path, request: pytest.FixtureRequest, *, mapping: str = "", form: str = ""
) -> dict[str, Any]:
    """``rows``: good rows by entity, typed; ``refused``: reasons; ``error``: a sentence."""
    try:
        kind = cast(Form, form) if form else detect(folder)
        log = read_log(folder, kind, load_mapping(folder / mapping) if mapping else None)
    except LoadError as error:
        return {"error": str(error)}
    checked = {str(entity): validate(log, entity) for entity in log.frames()}
    return {
        "rows": {
            entity: [
                {name: _plain(cell) for name, cell in row.items()} for row in one.good.to_dicts()
            ]
            for entity, one in checked.items()
        },
        "refused": {entity: one.rejected["reason"].to_list() for entity, one in checked.items()},
    }


def _plain(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, datetime) else cell
