"""Train on the artifact `training_set` that Dagster has made, and log the artifact `model`."""

import pickle

from sklearn.neural_network import MLPClassifier

import windlass

with windlass.init(project="digits", config={"hidden": 48, "epochs": 15}) as run:
    data = run.use_artifact("training_set:latest").get("output", allow_code=True)
    classifier = MLPClassifier((run.config.hidden,), random_state=7)
    for epoch in range(run.config.epochs):
        classifier.partial_fit(data["x"], data["y"], classes=list(range(10)))
        run.log({"epoch": epoch, "accuracy": classifier.score(data["x"], data["y"])})
        print(f"epoch {epoch}: accuracy {classifier.score(data['x'], data['y']):.3f}", flush=True)
    artifact = windlass.Artifact("model", "model")
    with artifact.new_file("model.pkl", "wb") as file:
        pickle.dump(classifier, file)
    run.log_artifact(artifact)
