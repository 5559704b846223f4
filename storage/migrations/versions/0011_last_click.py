"""When the last click of an hour was: from then on the time to convert runs."""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = """
ALTER TABLE feed.variant_hours ADD COLUMN last_click_at timestamptz;
COMMENT ON COLUMN feed.variant_hours.last_click_at IS
    'the clicks of this row are ripe when the time to convert has passed since then';
"""


def upgrade() -> None:
    op.execute(TABLES)
