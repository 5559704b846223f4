"""Experiments with layers, ramps and settings; rates by user and hour, by arm and version."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
ALTER TABLE feed.experiments
    ADD COLUMN description      text NOT NULL DEFAULT '',
    ADD COLUMN environment      text,
    ADD COLUMN layer            text NOT NULL DEFAULT 'ranking',
    ADD COLUMN layer_from       double precision NOT NULL DEFAULT 0,
    ADD COLUMN layer_to         double precision NOT NULL DEFAULT 1,
    ADD COLUMN share            double precision NOT NULL DEFAULT 0.01
                                CHECK (share BETWEEN 0 AND 1),
    ADD COLUMN share_since      timestamptz,
    ADD COLUMN ramp             jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN primary_metric   text NOT NULL DEFAULT 'ctr',
    ADD COLUMN winner_takes_all boolean NOT NULL DEFAULT false,
    ADD COLUMN held_because     text,
    ADD COLUMN winner           text,
    ADD CONSTRAINT experiments_layer CHECK (0 <= layer_from AND layer_from < layer_to
                                            AND layer_to <= 1);
COMMENT ON COLUMN feed.experiments.environment IS 'null: in every environment';
COMMENT ON COLUMN feed.experiments.share IS 'of the users of its part of the layer';
COMMENT ON TABLE feed.experiment_assignments IS
    'Users who were given an arm by hand; all others follow from the hash';

-- What users did with what they were shown. A row where experiment is '' is of all that the
-- user was shown by that variant and version; others are the same, by experiment and arm.
CREATE TABLE feed.variant_hours (
    hour          timestamptz NOT NULL,
    user_id       text NOT NULL DEFAULT '',
    experiment    text NOT NULL DEFAULT '',
    arm           text NOT NULL DEFAULT '',
    variant       text NOT NULL,
    model_version text NOT NULL DEFAULT '',
    impressions   integer NOT NULL DEFAULT 0,
    clicks        integer NOT NULL DEFAULT 0,
    applies       integer NOT NULL DEFAULT 0,
    dwells        integer NOT NULL DEFAULT 0,
    dwell_seconds double precision NOT NULL DEFAULT 0,
    saves         integer NOT NULL DEFAULT 0,
    dismisses     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, user_id, experiment, arm, variant, model_version)
);
CREATE INDEX variant_hours_user ON feed.variant_hours (user_id);
COMMENT ON COLUMN feed.variant_hours.applies IS
    'clicks of this hour that an apply followed in time';
CREATE TABLE feed.variant_items (
    day           date NOT NULL,
    variant       text NOT NULL,
    model_version text NOT NULL DEFAULT '',
    item_id       text NOT NULL,
    impressions   integer NOT NULL,
    PRIMARY KEY (day, variant, model_version, item_id)
);
CREATE TABLE feed.watermarks (
    name text PRIMARY KEY,
    at   timestamptz NOT NULL
);

ALTER TABLE feed.guardrail_reports
    ADD COLUMN experiment text,
    ADD COLUMN arm        text;

INSERT INTO feed.feature_flags (name, enabled) VALUES
    ('ml_recommendations', true), ('personalized_feed', true), ('engagement_ranking', true)
ON CONFLICT DO NOTHING;
"""


def upgrade() -> None:
    op.execute(TABLES)
