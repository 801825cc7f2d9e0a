"""The fakes as plugins: ``windlass --plugin …/fakes/plugin.py``, or ``plugin_files`` of a contract class."""

import windlass.plugins as wp
from windlass.environments import EnvironmentCapabilities
from windlass.metastore import MetastoreCapabilities
from windlass.runners import RunnerCapabilities
from windlass.storage import StorageCapabilities
from windlass_testkit.fakes import images, memory, runner, serializer, storage

RUNNER = wp.RunnerPlugin(
    name="fake",
    summary="Jobs as processes that only this process knows of.",
    config=runner.FakeRunnerConfig,
    create=lambda c, context: runner.FakeRunner(runner.cluster_named(c.cluster or str(context.settings.home))),
    capabilities=RunnerCapabilities(needs_image=False, host_bound=True),
    resource_args=runner.FakeResourceArgs,
)
BUILDER = wp.BuilderPlugin(
    name="fake", summary="Images are digests.", config=images.FakeBuilderConfig, create=images.make_builder
)
REGISTRY = wp.RegistryPlugin(
    name="fake", summary="A registry in memory.", config=images.FakeRegistryConfig, create=images.make_registry
)
ENVIRONMENT = wp.EnvironmentPlugin(
    name="fake",
    summary="An account without a cloud.",
    config=images.FakeEnvironmentConfig,
    create=images.make_account,
    capabilities=EnvironmentCapabilities(aws=True),
)
STORAGE = wp.StoragePlugin(
    name="memory",
    summary="Objects in memory.",
    schemes=("kit",),
    config=storage.MemoryStorageConfig,
    create=lambda c, context: storage.MemoryStorage(storage.bucket_named(c.bucket or str(context.settings.home))),
    capabilities=StorageCapabilities(versions=True, checksums=True),
)
SERIALIZER = wp.SerializerPlugin(
    name="fake",
    summary="JSON with a checksum.",
    config=serializer.FakeSerializerConfig,
    create=lambda c, context: serializer.FakeSerializer(),
    media_type="application/x-fake",
    extensions=(".fake",),
)
METASTORE = wp.MetastorePlugin(
    name="memory",
    summary="A metadata store in memory.",
    schemes=("memory",),
    config=memory.MemoryConfig,
    create=lambda c, context: memory.MemoryMetadataStore.at(c.url),
    capabilities={"memory": MetastoreCapabilities()},
)
for _kind, _descriptor in zip(
    ("runners", "builders", "registries", "environments", "storage_schemes", "serializers", "metastores"),
    (RUNNER, BUILDER, REGISTRY, ENVIRONMENT, STORAGE, SERIALIZER, METASTORE),
    strict=True,
):
    globals()[f"windlass_{_kind}"] = wp.hookimpl(lambda given=_descriptor: (given,))
