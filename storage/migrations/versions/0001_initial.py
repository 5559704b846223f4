"""All tables of the first release, in schema ``feed``.

Ids are the product's own, as text. Times are ``timestamptz``. Columns that a
product fills have few constraints on purpose: what is wrong in them is found by
``data_checks/`` and kept with its reason, instead of failing the product's write.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE feed.users (
    id          text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 255),
    lat         double precision,
    lon         double precision,
    city        text,
    tags        text[] NOT NULL DEFAULT '{}',
    attributes  jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_updated ON feed.users (updated_at);

CREATE TABLE feed.owners (
    id              text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 255),
    average_rating  double precision,
    completion_rate double precision,
    finished_jobs   integer,
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE feed.items (
    id          text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 255),
    owner_id    text,
    title       text,
    text        text,
    tags        text[] NOT NULL DEFAULT '{}',
    category    text,
    city        text,
    lat         double precision,
    lon         double precision,
    price_min   double precision,
    price_max   double precision,
    status      text NOT NULL DEFAULT 'published',
    capacity    integer,
    created_at  timestamptz NOT NULL DEFAULT now(),
    publish_at  timestamptz,
    starts_at   timestamptz,
    attributes  jsonb NOT NULL DEFAULT '{}',
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX items_updated ON feed.items (updated_at);
CREATE INDEX items_owner ON feed.items (owner_id);

CREATE TABLE feed.user_preferences (
    user_id                 text PRIMARY KEY REFERENCES feed.users ON DELETE CASCADE,
    max_distance_km         double precision CHECK (max_distance_km > 0),
    preferred_price_min     double precision,
    preferred_price_max     double precision,
    preferred_tags          text[] NOT NULL DEFAULT '{}',
    blocked_tags            text[] NOT NULL DEFAULT '{}',
    blocked_owners          text[] NOT NULL DEFAULT '{}',
    personalization_enabled boolean NOT NULL DEFAULT true,
    updated_at              timestamptz NOT NULL DEFAULT now()
);

-- A unique constraint on a partitioned table must hold the partition key, so a
-- retry must repeat occurred_at too; the writers also look an event_id up alone.
CREATE TABLE feed.interactions (
    event_id    uuid NOT NULL,
    user_id     text,
    item_id     text,
    type        text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    metadata    jsonb,
    PRIMARY KEY (event_id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX interactions_user_time ON feed.interactions (user_id, occurred_at);
CREATE INDEX interactions_item_time ON feed.interactions (item_id, occurred_at);
CREATE INDEX interactions_type_time ON feed.interactions (type, occurred_at);
CREATE INDEX interactions_received ON feed.interactions USING brin (received_at);
CREATE TABLE feed.interactions_default PARTITION OF feed.interactions DEFAULT;

CREATE FUNCTION feed.ensure_interaction_partitions(first timestamptz, last timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    month date := date_trunc('month', first AT TIME ZONE 'UTC');
    made  integer := 0;
BEGIN
    WHILE month <= last AT TIME ZONE 'UTC' LOOP
        IF to_regclass(format('feed.interactions_%s', to_char(month, 'YYYYMM'))) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE feed.interactions_%s PARTITION OF feed.interactions '
                'FOR VALUES FROM (%L) TO (%L)',
                to_char(month, 'YYYYMM'),
                month::timestamp AT TIME ZONE 'UTC',
                (month + interval '1 month')::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;

-- What validation refused, whole, with the reason. `entity` is the table it was meant for.
CREATE TABLE feed.interactions_rejected (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity      text NOT NULL DEFAULT 'interactions'
                CHECK (entity IN ('users', 'items', 'owners', 'interactions')),
    source      text NOT NULL,
    row_number  bigint,
    reason      text NOT NULL,
    raw         text NOT NULL,
    raw_hash    uuid GENERATED ALWAYS AS (md5(entity || raw)::uuid) STORED,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (raw_hash, reason)
);
CREATE INDEX interactions_rejected_at ON feed.interactions_rejected (rejected_at);

CREATE TABLE feed.implicit_interests (
    user_id      text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('tag', 'category', 'city')),
    value        text NOT NULL,
    score        double precision NOT NULL,
    last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, kind, value)
);

-- One row an item and window (hours); counts are of the window, score is in [0, 1].
CREATE TABLE feed.engagement_metrics (
    item_id      text NOT NULL,
    window_hours integer NOT NULL,
    impressions  bigint NOT NULL DEFAULT 0,
    views        bigint NOT NULL DEFAULT 0,
    clicks       bigint NOT NULL DEFAULT 0,
    likes        bigint NOT NULL DEFAULT 0,
    saves        bigint NOT NULL DEFAULT 0,
    shares       bigint NOT NULL DEFAULT 0,
    applies      bigint NOT NULL DEFAULT 0,
    dismisses    bigint NOT NULL DEFAULT 0,
    score        double precision NOT NULL DEFAULT 0,
    computed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (window_hours, item_id)
);

CREATE MATERIALIZED VIEW feed.trending_items AS
    SELECT item_id, window_hours, score,
           rank() OVER (PARTITION BY window_hours ORDER BY score DESC, item_id) AS rank,
           computed_at
    FROM feed.engagement_metrics
    WHERE window_hours <= 168 AND score > 0;
CREATE UNIQUE INDEX trending_items_key ON feed.trending_items (window_hours, item_id);
CREATE INDEX trending_items_rank ON feed.trending_items (window_hours, rank);

CREATE TABLE feed.user_similarities (
    user_id    text NOT NULL,
    similar_id text NOT NULL,
    rank       smallint NOT NULL,
    score      real NOT NULL,
    PRIMARY KEY (user_id, rank)
);
CREATE TABLE feed.item_similarities (
    item_id    text NOT NULL,
    similar_id text NOT NULL,
    rank       smallint NOT NULL,
    score      real NOT NULL,
    PRIMARY KEY (item_id, rank)
);

CREATE TABLE feed.recommendations (
    user_id       text NOT NULL,
    item_id       text NOT NULL,
    rank          smallint NOT NULL,
    score         real NOT NULL,
    reason        jsonb NOT NULL,
    model_version text NOT NULL,
    generated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, rank)
);

CREATE TABLE feed.experiments (
    id         text PRIMARY KEY,
    status     text NOT NULL DEFAULT 'draft'
               CHECK (status IN ('draft', 'running', 'paused', 'ended')),
    salt       text NOT NULL,
    variants   jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at   timestamptz
);
CREATE TABLE feed.experiment_assignments (
    experiment_id text NOT NULL REFERENCES feed.experiments ON DELETE CASCADE,
    user_id       text NOT NULL,
    variant       text NOT NULL,
    assigned_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (experiment_id, user_id)
);

CREATE TABLE feed.guardrail_reports (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    computed_at   timestamptz NOT NULL DEFAULT now(),
    window_start  timestamptz NOT NULL,
    window_end    timestamptz NOT NULL,
    variant       text NOT NULL,
    model_version text,
    impressions   bigint NOT NULL,
    clicks        bigint NOT NULL,
    applies       bigint NOT NULL,
    ctr           double precision,
    conversion    double precision,
    status        text NOT NULL CHECK (status IN ('ok', 'breach', 'not_enough_data')),
    detail        jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX guardrail_reports_time ON feed.guardrail_reports (computed_at);

CREATE TABLE feed.feature_flags (
    name        text NOT NULL,
    environment text NOT NULL DEFAULT 'default',
    enabled     boolean NOT NULL DEFAULT false,
    share       double precision NOT NULL DEFAULT 1 CHECK (share BETWEEN 0 AND 1),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, environment)
);

CREATE TABLE feed.api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    scope        text NOT NULL CHECK (scope IN ('track', 'read', 'admin')),
    key_hash     bytea NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);

CREATE TABLE feed.audit_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_time ON feed.audit_log (occurred_at);
"""


def upgrade() -> None:
    op.execute(TABLES)
