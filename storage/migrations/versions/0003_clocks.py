"""The times that the server gave to events whose own could not be used.

The key of ``feed.interactions`` holds occurred_at. An event that came without a usable one got
the time at which it was received; a retry is received later, so its id is looked up here.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE feed.interaction_clocks (
    event_id    uuid PRIMARY KEY,
    occurred_at timestamptz NOT NULL
);
CREATE INDEX interaction_clocks_time ON feed.interaction_clocks (occurred_at);
"""


def upgrade() -> None:
    op.execute(TABLES)
