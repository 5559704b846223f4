"""Score tables: what a version ranks by beside its vectors, asked with the viewer's own history.

``kinds.py`` has every kind, ``scores.py`` what they are asked with and say, ``stored.py`` how a
snapshot keeps and weighs them. Whoever serves, judges or trains may enter.
"""

from models.catalogue.tables.scores import Histories as Histories
from models.catalogue.tables.stored import Blend as Blend
from models.catalogue.tables.stored import read_tables as read_tables

# Models that MLflow holds import these three here.
