"""Versions that nothing may put live again; alerts; what was served, by the minute."""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
-- Written before the alias moves: workers stop serving such a version even while MLflow is away.
CREATE TABLE feed.withdrawn_versions (
    model_version text PRIMARY KEY,
    withdrawn_at  timestamptz NOT NULL DEFAULT now(),
    actor         text NOT NULL,
    reason        text NOT NULL,
    done_at       timestamptz
);
COMMENT ON COLUMN feed.withdrawn_versions.done_at IS
    'when no alias named it any more; null: its rollback waits for MLflow';

CREATE TABLE feed.alerts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    raised_at    timestamptz NOT NULL DEFAULT now(),
    kind         text NOT NULL,
    severity     text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title        text NOT NULL,
    detail       jsonb NOT NULL DEFAULT '{}',
    attempts     integer NOT NULL DEFAULT 0,
    next_try_at  timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    given_up_at  timestamptz,
    last_error   text
);
CREATE INDEX alerts_waiting ON feed.alerts (next_try_at)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX alerts_time ON feed.alerts (raised_at);

CREATE TABLE feed.served_minutes (
    minute          timestamptz NOT NULL,
    variant         text NOT NULL,
    model_version   text NOT NULL DEFAULT '',
    fallback_reason text NOT NULL DEFAULT '',
    requests        bigint NOT NULL,
    seconds         double precision NOT NULL,
    buckets         bigint[] NOT NULL,
    PRIMARY KEY (minute, variant, model_version, fallback_reason)
);
COMMENT ON COLUMN feed.served_minutes.buckets IS
    'requests by latency: the bounds are in storage/operations/served.py';
"""


def upgrade() -> None:
    op.execute(TABLES)
