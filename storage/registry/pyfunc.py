"""The recommender as an MLflow model: ``mlflow.pyfunc.load_model(…).predict(frame)``.

The frame has a column ``user_id`` and may have ``limit`` (10); the answer has a row an item:
user_id, rank, item_id, score. Users that the model does not know get its popular items.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.models import set_model
from mlflow.models.model import ModelInfo
from mlflow.pyfunc.model import PythonModel

LIMIT = 10
COLUMNS = {"user_id": "str", "rank": "int64", "item_id": "str", "score": "float32"}


class RecommenderModel(PythonModel):
    """Loads vectors and ids; ranks the whole catalogue for each user.

    Vectors and names of features that do not belong together are refused.
    """

    def load_context(self, context: Any) -> None:
        from models.data.feature_set import described, digest_of
        from models.data.ids import IdIndex

        stored = np.load(context.artifacts["recommender"])
        features = Path(context.artifacts["features"]).read_bytes()
        expected = str(stored["features"])
        if digest_of(features) != expected:
            raise ValueError(
                f"features do not match: the vectors were trained on {expected}, the model holds "
                f"{digest_of(features)}: {described(features)}"
            )
        self.users = IdIndex(stored["user_offsets"], stored["user_data"])
        self.items = IdIndex(stored["item_offsets"], stored["item_data"])
        self.served = _served(stored)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict | None = None
    ) -> pd.DataFrame:
        from models.data.arrays import top_places

        limits = model_input["limit"] if "limit" in model_input else [LIMIT] * len(model_input)
        answers = [pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)]
        for user_id, limit in zip(model_input["user_id"], limits, strict=True):
            row = self.users.find(user_id)
            scores = self.served.vectors.bias
            if row is not None:
                scores = self.served.score(np.array([row]))[0]
            best = top_places(scores, max(int(limit), 0))
            answers.append(
                pd.DataFrame(
                    {
                        "user_id": user_id,
                        "rank": np.arange(1, len(best) + 1),
                        "item_id": [self.items[int(item)] for item in best],
                        "score": scores[best],
                    }
                )
            )
        return pd.concat(answers[1:] or answers, ignore_index=True)


def _served(stored: Any) -> Any:
    """The vectors and tables of a file, as ``models.recommenders.served.ByVectors``."""
    import json

    from scipy import sparse

    from models.catalogue.building import Vectors
    from models.catalogue.tables import Blend, Histories, read_tables
    from models.data.ragged import Ragged
    from models.recommenders.served import ByVectors

    tables = json.loads(str(stored["tables"])) if "tables" in stored else {}
    shape = len(stored["users"]), len(stored["items"])
    histories = Histories(sparse.csr_array(([], ([], [])), shape=shape))
    if tables:
        liked = Ragged(*(stored[f"liked.{name}"] for name in Ragged._fields))
        histories = Histories(sparse.csr_array(liked.to_csr(shape[1])), recent=stored["recent"])
    blend = Blend(**json.loads(str(stored["blend"]))) if tables else Blend()
    vectors = Vectors(
        stored["users"],
        stored["items"],
        stored["bias"],
        tables=read_tables(tables, stored.__getitem__),
        blend=blend,
    )
    return ByVectors("recommender", vectors, histories)


def log_recommender(client: MlflowClient, run_id: str, path: Path, features: Path) -> ModelInfo:
    """Log the vectors at ``path``, and the names of features, as a model of the run, with the
    run's parameters and metrics.

    Inside of ``mlflow.start_run`` MLflow would ask for each of some hundred metrics by itself.
    """
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id, name="recommender", source_run_id=run_id, params=run.data.params
    )
    with TemporaryDirectory() as folder:
        code, model_file = _own_code(Path(folder))
        logged = mlflow.pyfunc.log_model(
            name="recommender",
            model_id=model.model_id,
            python_model=str(model_file),
            artifacts={"recommender": str(path), "features": str(features)},
            code_paths=[str(code)],
            pip_requirements=[
                "mlflow",
                "numpy",
                "pandas",
                "polars",
                "pyarrow",
                "scipy",
                "pydantic",
                "pyyaml",
            ],
        )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    metrics = [
        Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id=model.model_id)
        for metric in run.data.to_proto().metrics
    ]
    client.log_batch(run_id, metrics=metrics)
    return logged


def _own_code(folder: Path) -> tuple[Path, Path]:
    """Copies of ``models`` and of this file in ``folder``, closed to other accounts: MLflow keeps
    the modes."""
    import models

    package = Path(models.__file__).parent
    copy = folder / package.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, copy, copy_function=shutil.copyfile, ignore=ignored)
    this = Path(shutil.copyfile(__file__, folder / Path(__file__).name))
    for path in (this, copy, *copy.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return copy, this


set_model(RecommenderModel())
