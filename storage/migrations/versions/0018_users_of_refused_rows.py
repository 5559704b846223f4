"""Refused rows say whose they are, so that an erasure finds them whatever they look like.

``storage.privacy.named_users`` finds the ids when a row is refused. Of rows that are there already
they are looked for here: in the JSON of the row, or by a pattern where it is no JSON for Postgres
(NaN, half a surrogate pair, what was cut). What should have gone with an erasure goes now.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

NAMES = (
    "^(user|uid|(user|customer|visitor|member|reviewer|account|client|guest)id"
    "|customer|visitor|member|account|client|guest|username|email|login)$"
)

COLUMN = """
ALTER TABLE feed.interactions_rejected ADD COLUMN user_ids text[] NOT NULL DEFAULT '{}';
"""

FOUND = rf"""
CREATE FUNCTION pg_temp.is_user(entity text, name text) RETURNS boolean LANGUAGE sql AS $$
    SELECT lower(regexp_replace(name, '[^[:alnum:]]', '', 'g')) ~ '{NAMES}'
        OR entity = 'users' AND name = 'id'
$$;
CREATE FUNCTION pg_temp.unquoted(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN $1::jsonb #>> '{{}}';
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
CREATE FUNCTION pg_temp.users_in(entity text, raw text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT value #>> '{{}}' FROM jsonb_each(raw::jsonb)
        WHERE pg_temp.is_user(entity, key) AND jsonb_typeof(value) IN ('string', 'number'));
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN ARRAY(
        SELECT DISTINCT pg_temp.unquoted(part[2])
        FROM regexp_matches(raw, '"([^"\\]*)" ?: ?("(?:[^"\\]|\\.)*"|[0-9]+)', 'g') AS match(part)
        WHERE pg_temp.is_user(entity, part[1]));
END $$;
UPDATE feed.interactions_rejected AS r SET user_ids = found.ids
FROM (
    SELECT id, ARRAY(
        SELECT one FROM unnest(pg_temp.users_in(entity, raw)) AS one
        WHERE octet_length(one) BETWEEN 1 AND 255
    ) AS ids
    FROM feed.interactions_rejected
) AS found
WHERE found.id = r.id AND found.ids <> '{{}}';
"""

INDEX = """
CREATE INDEX interactions_rejected_users ON feed.interactions_rejected USING gin (user_ids);
"""

# The lock: an erasure that waits for it sees these rows, and one that had it before is seen here.
LATE = """
CREATE OR REPLACE FUNCTION feed.drop_late_refused() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1701994867);
    IF EXISTS (SELECT FROM feed.erasures) THEN
        DELETE FROM feed.interactions_rejected AS r
        USING (SELECT id, unnest(user_ids) AS user_id FROM added) AS came, feed.erasures AS e
        WHERE e.id_sha256 = sha256(convert_to(came.user_id, 'UTF8')) AND r.id = came.id
          AND NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = came.user_id);
    END IF;
    RETURN NULL;
END $$;
"""

ERASED = """
DELETE FROM feed.interactions_rejected AS r
USING (SELECT id, unnest(user_ids) AS user_id FROM feed.interactions_rejected) AS named,
      feed.erasures AS e
WHERE e.id_sha256 = sha256(convert_to(named.user_id, 'UTF8')) AND r.id = named.id
  AND (r.rejected_at <= e.requested_at
       OR NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = named.user_id));
"""


def upgrade() -> None:
    for statements in (COLUMN, FOUND, INDEX, LATE, ERASED):
        op.execute(statements)
