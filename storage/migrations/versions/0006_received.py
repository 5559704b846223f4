"""Interactions by when they were received: what each worker asks for twice a second.

The BRIN index that was there reads whole ranges of pages, which a table of a few hundred
thousand rows makes slow; received_at only grows, so a B-tree on it is cheap to keep.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
DROP INDEX feed.interactions_received;
CREATE INDEX interactions_received ON feed.interactions (received_at);
"""


def upgrade() -> None:
    op.execute(TABLES)
