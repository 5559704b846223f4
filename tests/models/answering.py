"""A model for MLflow that gives back what it is asked."""

import mlflow
from mlflow.pyfunc import PythonModel


class Answering(PythonModel):
    def predict(self, model_input: list[int]) -> list[int]:
        return model_input


mlflow.models.set_model(Answering())
