"""Signs of life of the pipeline's runs."""

from alembic import op

revision = "0014"
down_revision = "0013"

TABLES = """
CREATE TABLE feed.run_heartbeats (
    run_id text PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    beaten_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stop boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE feed.run_heartbeats IS
    'a row for each run of the pipeline that executes; renewed every two seconds';
COMMENT ON COLUMN feed.run_heartbeats.stop IS 'the run was asked to end itself';
"""


def upgrade() -> None:
    op.execute(TABLES)
