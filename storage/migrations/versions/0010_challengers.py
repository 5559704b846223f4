"""Which version an experiment is about, and who made it."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
ALTER TABLE feed.experiments
    ADD COLUMN challenger_version text,
    ADD COLUMN created_by         text NOT NULL DEFAULT '';
COMMENT ON COLUMN feed.experiments.challenger_version IS
    'what the challenger was at the start; another pauses it';
COMMENT ON COLUMN feed.experiments.held_because IS 'why the share does not grow, or it is paused';
CREATE INDEX experiments_live ON feed.experiments (layer) WHERE status IN ('running', 'paused');
"""


def upgrade() -> None:
    op.execute(TABLES)
