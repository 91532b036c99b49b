"""MLflow's door: the only rooms that import mlflow."""
