"""A key may have limits of its own; null: those of the installation, 0: none."""

from alembic import op

revision = "0016"
down_revision = "0015"

COLUMNS = """
ALTER TABLE feed.api_keys
    ADD COLUMN limit_per_key  integer CHECK (limit_per_key >= 0),
    ADD COLUMN limit_per_user integer CHECK (limit_per_user >= 0);
"""


def upgrade() -> None:
    op.execute(COLUMNS)
