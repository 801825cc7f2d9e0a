"""Train a small neural network on the handwritten digits that come with scikit-learn, and track it with Windlass."""

from __future__ import annotations

import os
import pickle

from confusion import draw
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import windlass


def main() -> None:
    """Train, log a row of metrics an epoch, and log the model with its confusion matrix."""
    defaults = {
        "hidden": int(os.environ.get("DIGITS_HIDDEN", "64")),  # a template variable of the queue
        "learning_rate": 0.003,
        "epochs": 25,
        "seed": 7,
    }
    with windlass.init(project="digits", config=defaults) as run:
        config = run.config
        run.define_metric("accuracy", summary="max")
        images, digits = load_digits(return_X_y=True)
        x_train, x_test, y_train, y_test = train_test_split(
            images / 16.0, digits, test_size=0.25, random_state=config.seed, stratify=digits
        )
        model = MLPClassifier(
            hidden_layer_sizes=(config.hidden,), learning_rate_init=config.learning_rate, random_state=config.seed
        )
        for epoch in range(config.epochs):
            model.partial_fit(x_train, y_train, classes=range(10))
            accuracy = model.score(x_test, y_test)
            loss = log_loss(y_test, model.predict_proba(x_test))
            run.log({"epoch": epoch, "train_loss": model.loss_, "loss": loss, "accuracy": accuracy})
            if epoch % 5 == 4:
                print(f"epoch {epoch + 1:3d}  loss {loss:.3f}  accuracy {accuracy:.3f}", flush=True)

        matrix = confusion_matrix(y_test, model.predict(x_test))
        run.summary["final_accuracy"] = round(float(accuracy), 4)
        artifact = windlass.Artifact(
            "digits-classifier", type="model", metadata={"accuracy": float(accuracy), "hidden": config.hidden}
        )
        with artifact.new_file("model.pkl", mode="wb") as file:
            pickle.dump(model, file)
        with artifact.new_file("confusion_matrix.png", mode="wb") as file:
            draw(matrix.tolist(), f"accuracy {accuracy:.3f}").save(file, "PNG")
        run.log_artifact(artifact, aliases=["demo"])


if __name__ == "__main__":
    main()
