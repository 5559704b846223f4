"""Bring the database of the settings to this release: ``python -m storage.migrations``.

Exit status 0 when it is there, also when it was before; else 1 and how to mend it.
"""

from __future__ import annotations

import sys

from storage.migrations import head
from storage.postgres.database import DatabaseError
from storage.postgres.embedded import EmbeddedPostgresError
from storage.preparation import prepare
from storage.settings import get_settings

if __name__ == "__main__":
    try:
        prepare(get_settings())
    except (DatabaseError, EmbeddedPostgresError) as error:
        sys.exit(str(error))
    print(f"The database is at revision {head()}.")
