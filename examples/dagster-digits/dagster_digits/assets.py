"""The assets, from pictures to a report."""

import pickle

import dagster as dg
import numpy as np

import windlass
from dagster_windlass import PartitionedOutput, WindlassArtifactConfiguration

DIGITS = dg.StaticPartitionsDefinition([str(digit) for digit in range(10)])


@dg.asset(
    partitions_def=DIGITS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"windlass_artifact_configuration": WindlassArtifactConfiguration(type="dataset")},
)
def images(context: dg.AssetExecutionContext) -> PartitionedOutput:
    """Pictures of one digit, as an array. One artifact a digit; a run may make several."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    return PartitionedOutput((digit, pictures[labels == int(digit)]) for digit in context.partition_keys)


@dg.multi_asset(
    outs={
        name: dg.AssetOut(metadata={"windlass_artifact_configuration": WindlassArtifactConfiguration(type="dataset")})
        for name in ("training_set", "test_set")
    }
)
def split(images: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every fourth picture is for the test."""
    pictures = np.concatenate(list(images.values()))
    labels = np.concatenate([np.full(len(part), int(digit)) for digit, part in images.items()])
    test = np.arange(len(labels)) % 4 == 0
    return {"x": pictures[~test], "y": labels[~test]}, {"x": pictures[test], "y": labels[test]}


@dg.asset(
    metadata={
        "windlass_artifact_configuration": WindlassArtifactConfiguration(
            type="model", description="The classifier as **ONNX**.", serialization_module={"name": "pickle"}
        )
    }
)
def onnx_model(model: windlass.Artifact) -> bytes:
    """The trained model, in a form that any runtime reads."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    classifier = pickle.loads(model.get_entry("model.pkl").read_bytes())
    return convert_sklearn(classifier, initial_types=[("pixels", FloatTensorType([None, 64]))]).SerializeToString()


@dg.asset(metadata={"windlass_artifact_configuration": WindlassArtifactConfiguration(type="report")})
def report(onnx_model: bytes, test_set: dict[str, np.ndarray]) -> dg.Output[windlass.Table]:
    """How many pictures of each digit are recognized."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_model)
    (predicted, *_) = session.run(None, {"pixels": test_set["x"].astype(np.float32)})
    table = windlass.Table(columns=["digit", "pictures", "recognized"])
    for digit in range(10):
        mine = test_set["y"] == digit
        table.add_data(digit, int(mine.sum()), int((predicted[mine] == digit).sum()))
    accuracy = float((predicted == test_set["y"]).mean())
    return dg.Output(table, metadata={"accuracy": accuracy})
