"""Event ids are compared by their events; months get partitions one by one.

``interaction_clocks`` held the ids of events whose time the server gave: their retries are found
in ``feed.interactions`` itself now. A month of which the default partition holds rows gets no
partition: it would violate the default's constraint, and the rows stay together there.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

PARTITION_LOCK = 0x70_61_72_74
"""Key of an advisory lock: "part" in ASCII."""

CHANGES = f"""
DROP TABLE feed.interaction_clocks;

DROP FUNCTION feed.ensure_interaction_partitions(timestamptz, timestamptz);

CREATE FUNCTION feed.ensure_interaction_partitions(VARIADIC times timestamptz[])
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    month timestamp;
    name  text;
    made  integer := 0;
BEGIN
    FOR month IN
        SELECT DISTINCT date_trunc('month', time AT TIME ZONE 'UTC')
        FROM unnest(times) AS time ORDER BY 1
    LOOP
        name := format('interactions_%s', to_char(month, 'YYYYMM'));
        CONTINUE WHEN to_regclass('feed.' || name) IS NOT NULL;
        -- two that make the same one come one after the other
        PERFORM pg_advisory_xact_lock({PARTITION_LOCK});
        BEGIN
            EXECUTE format(
                'CREATE TABLE feed.%I PARTITION OF feed.interactions FOR VALUES FROM (%L) TO (%L)',
                name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
            made := made + 1;
        EXCEPTION
            WHEN duplicate_table THEN NULL;
            WHEN check_violation THEN NULL;  -- its rows are in the default partition
        END;
    END LOOP;
    RETURN made;
END $$;
"""


def upgrade() -> None:
    op.execute(CHANGES)
