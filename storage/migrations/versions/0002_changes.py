"""The change log: triggers note which users, items, owners and preferences were written.

A row is of one statement of one transaction, or of each ``PART`` ids that it wrote; so a bulk
load costs a few rows, not one an id. ``ids`` is null when the table was truncated. Whatever
writes to the tables, the product's own SQL too, is noted in the same transaction.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

PART = 10_000

# Entity -> its table, its key, and the columns that make a change of the row: updated_at does not.
NOTED = {
    "items": (
        "items",
        "id",
        "owner_id title text tags category city lat lon price_min price_max status capacity"
        " created_at publish_at starts_at attributes",
    ),
    "users": ("users", "id", "lat lon city tags attributes created_at"),
    "owners": ("owners", "id", "average_rating completion_rate finished_jobs"),
    "preferences": (
        "user_preferences",
        "user_id",
        "max_distance_km preferred_price_min preferred_price_max preferred_tags blocked_tags"
        " blocked_owners personalization_enabled",
    ),
}

TABLES = """
CREATE TABLE feed.changes (
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    entity     text NOT NULL CHECK (entity IN ('items', 'users', 'owners', 'preferences')),
    ids        text[],
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX changes_xid ON feed.changes (xid);
CREATE INDEX changes_time ON feed.changes USING brin (changed_at);

-- One row: the newest transaction of which something was deleted from the log.
CREATE TABLE feed.changes_pruned (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xid      xid8 NOT NULL DEFAULT '0'
);
INSERT INTO feed.changes_pruned DEFAULT VALUES;
"""

# A product's role needs no right on the log: the function has its owner's.
FUNCTION = """
CREATE FUNCTION feed.note_{entity}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO feed.changes (entity) VALUES ('{entity}');
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO feed.changes (entity, ids)
        SELECT '{entity}', array_agg(id) FROM (
            SELECT {key} AS id, row_number() OVER () / {part} AS part
            FROM before AS b FULL JOIN after AS a USING ({key})
            WHERE ({old}) IS DISTINCT FROM ({new})
        ) AS written GROUP BY part;
    ELSE
        INSERT INTO feed.changes (entity, ids)
        SELECT '{entity}', array_agg(id) FROM (
            SELECT {key} AS id, row_number() OVER () / {part} AS part FROM touched
        ) AS written GROUP BY part;
    END IF;
    RETURN NULL;
END $$;
"""

TRIGGERS = {
    "INSERT": "REFERENCING NEW TABLE AS touched",
    "UPDATE": "REFERENCING OLD TABLE AS before NEW TABLE AS after",
    "DELETE": "REFERENCING OLD TABLE AS touched",
    "TRUNCATE": "",
}


def upgrade() -> None:
    op.execute(TABLES)
    for entity, (table, key, columns) in NOTED.items():
        names = [key, *columns.split()]
        op.execute(
            FUNCTION.format(
                entity=entity,
                key=key,
                part=PART,
                old=", ".join(f"b.{name}" for name in names),
                new=", ".join(f"a.{name}" for name in names),
            )
        )
        for event, tables in TRIGGERS.items():
            op.execute(
                f"CREATE TRIGGER note_{event.lower()} AFTER {event} ON feed.{table} {tables}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION feed.note_{entity}()"
            )
