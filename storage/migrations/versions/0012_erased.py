"""An erasure is in the change log, and what comes in late of an erased user is not kept.

The triggers look at all that a statement wrote, whoever wrote it: ingest, the spool, a load, the
product's own SQL. Without erasures that is one look into an empty table.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

LOG = """
ALTER TABLE feed.changes DROP CONSTRAINT changes_entity_check;
ALTER TABLE feed.changes ADD CONSTRAINT changes_entity_check
    CHECK (entity IN ('items', 'users', 'owners', 'preferences', 'erased'));
CREATE INDEX erasures_time ON feed.erasures (requested_at);
"""

# The same key and condition as in storage.privacy.erasures. The lock: an erasure that waits for it
# sees these rows, and one that had it before is seen here.
LATE = """
CREATE FUNCTION feed.drop_late_interactions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1701994867);
    IF EXISTS (SELECT FROM feed.erasures) THEN
        DELETE FROM feed.interactions AS i
        USING (SELECT DISTINCT user_id FROM added WHERE user_id IS NOT NULL) AS came,
              feed.erasures AS e
        WHERE e.id_sha256 = sha256(convert_to(came.user_id, 'UTF8')) AND i.user_id = came.user_id
          AND (i.occurred_at <= e.requested_at OR i.received_at <= e.requested_at
               OR i.metadata->'clock' ? 'reason'
                  AND NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = i.user_id));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER drop_late AFTER INSERT ON feed.interactions REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION feed.drop_late_interactions();
"""

# A refused row is text as it came: its user is looked for under the name that storage writes, and
# its time is not believed.
REFUSED = r"""
CREATE FUNCTION feed.drop_late_refused() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1701994867);
    IF EXISTS (SELECT FROM feed.erasures) THEN
        DELETE FROM feed.interactions_rejected AS r
        USING (
            SELECT id, replace(replace(coalesce(
                substring(raw from '"user_id": ?"((?:[^"\\]|\\.)*)"'),
                substring(raw from '"user_id": ?([0-9]+)[,}]')
            ), '\"', '"'), '\\', '\') AS user_id
            FROM added WHERE entity = 'interactions'
        ) AS came, feed.erasures AS e
        WHERE e.id_sha256 = sha256(convert_to(came.user_id, 'UTF8')) AND r.id = came.id
          AND NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = came.user_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER drop_late AFTER INSERT ON feed.interactions_rejected REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION feed.drop_late_refused();
"""


def upgrade() -> None:
    for statements in (LOG, LATE, REFUSED):
        op.execute(statements)
