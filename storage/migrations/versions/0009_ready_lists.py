"""By which versions the ready lists were made, without a look at every row."""

from alembic import op

revision = "0009"
down_revision = "0008"

INDEX = """
CREATE INDEX recommendations_version ON feed.recommendations (model_version) WHERE rank = 1;
"""


def upgrade() -> None:
    op.execute(INDEX)
