"""Users and items that were deleted are known as such: what was done with them is no stray row.

A trigger notes the SHA-256 of each id, whoever deletes: the API, an erasure, the product's own SQL.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

TABLE = """
CREATE TABLE feed.deleted (
    entity     text        NOT NULL CHECK (entity IN ('items', 'users')),
    id_sha256  bytea       NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity, id_sha256)
);
CREATE INDEX deleted_time ON feed.deleted (deleted_at);

CREATE FUNCTION feed.note_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    INSERT INTO feed.deleted AS d (entity, id_sha256)
    SELECT TG_TABLE_NAME, sha256(convert_to(id, 'UTF8')) FROM gone
    ON CONFLICT (entity, id_sha256) DO UPDATE SET deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$;
"""

# Of those that were deleted before, the change log has the last thirty days.
KNOWN = """
INSERT INTO feed.deleted (entity, id_sha256, deleted_at)
SELECT c.entity, sha256(convert_to(one.id, 'UTF8')), max(c.changed_at)
FROM feed.changes AS c, unnest(c.ids) AS one (id)
WHERE c.entity = '{entity}' AND NOT EXISTS (SELECT FROM feed.{entity} AS t WHERE t.id = one.id)
GROUP BY 1, 2
"""


def upgrade() -> None:
    op.execute(TABLE)
    for entity in ("items", "users"):
        op.execute(
            f"CREATE TRIGGER note_deleted AFTER DELETE ON feed.{entity} "
            "REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION feed.note_deleted()"
        )
        op.execute(KNOWN.format(entity=entity))
