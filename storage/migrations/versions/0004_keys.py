"""Keys that are found by an id of their own, and the secrets that sign user tokens.

A key made before has no ``key_id`` and opens nothing. The newest secret signs; those that have
not expired verify, so that a rotation ends no token before its time.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE feed.api_keys
    ADD COLUMN key_id       text UNIQUE CHECK (key_id ~ '^[0-9a-f]{8}$'),
    ADD COLUMN needs_token  boolean NOT NULL DEFAULT false,
    ADD COLUMN last_used_at timestamptz,
    ADD CHECK (NOT needs_token OR scope <> 'admin');

CREATE TABLE feed.token_secrets (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret     bytea NOT NULL CHECK (octet_length(secret) >= 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
-- Two random UUIDs hold 244 bits of the server's strong randomness.
INSERT INTO feed.token_secrets (secret) VALUES
    (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
"""


def upgrade() -> None:
    op.execute(TABLES)
