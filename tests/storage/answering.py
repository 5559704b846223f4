"""A model for MLflow that gives back what it is asked."""

from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel


class Answering(PythonModel):
    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return model_input


mlflow.models.set_model(Answering())
