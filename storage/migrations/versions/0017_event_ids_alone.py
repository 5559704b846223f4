"""Event ids have a table of their own: one look finds an id, however many months there are.

The key of the partitioned ``feed.interactions`` must hold occurred_at, so an id alone was looked
for in every month. ``feed.event_ids`` holds the ids that are there, each with its event's time,
which leads to its month. Triggers keep it so, whoever writes.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

# Of rows that share an id, which the product's own SQL may have written, the first has it.
TABLE = """
CREATE TABLE feed.event_ids (event_id uuid NOT NULL, occurred_at timestamptz NOT NULL);
INSERT INTO feed.event_ids
    SELECT DISTINCT ON (event_id) event_id, occurred_at FROM feed.interactions
    ORDER BY event_id, received_at, occurred_at;
ALTER TABLE feed.event_ids ADD PRIMARY KEY (event_id);
CREATE INDEX event_ids_time ON feed.event_ids USING brin (occurred_at);
"""

# Triggers fire by name: ids are noted before ``drop_late`` deletes rows and so frees their ids.
TRIGGERS = """
CREATE FUNCTION feed.claim_event_ids() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    INSERT INTO feed.event_ids SELECT event_id, occurred_at FROM added ORDER BY event_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER claim_event_ids AFTER INSERT ON feed.interactions REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION feed.claim_event_ids();

CREATE FUNCTION feed.free_event_ids() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE feed.event_ids;
    ELSE
        DELETE FROM feed.event_ids AS e USING gone
        WHERE e.event_id = gone.event_id AND e.occurred_at = gone.occurred_at;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER free_event_ids AFTER DELETE ON feed.interactions REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION feed.free_event_ids();
CREATE TRIGGER free_all_event_ids AFTER TRUNCATE ON feed.interactions
    FOR EACH STATEMENT EXECUTE FUNCTION feed.free_event_ids();
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(TRIGGERS)
