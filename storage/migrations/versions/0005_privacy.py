"""Who asked to be erased, and whose ready lists want to be made anew."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
-- One row a user who was erased. The id itself is kept only until the lake is done; the hash
-- tells later that what comes in late of the time before must not come back.
CREATE TABLE feed.erasures (
    id_sha256    bytea PRIMARY KEY,
    erased_id    text,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lake_done_at timestamptz,
    CHECK ((erased_id IS NULL) = (lake_done_at IS NOT NULL))
);

-- One row a user. requested_at: null while nothing is wanted; the row stays, so that
-- not_before holds. taken_at: somebody is at it since then.
CREATE TABLE feed.refresh_queue (
    user_id      text PRIMARY KEY,
    requested_at timestamptz,
    not_before   timestamptz NOT NULL DEFAULT now(),
    taken_at     timestamptz
);
CREATE INDEX refresh_queue_due ON feed.refresh_queue (not_before);
"""


def upgrade() -> None:
    op.execute(TABLES)
