"""Liars of the other kinds: one broken rule each, caught by the test meant for it and by no other."""

from __future__ import annotations

import pytest

from .conftest import Verdict

pytest_plugins = ["pytester"]

PLUGIN = """
from attrs import evolve
from msgspec.structs import replace
from pathlib import Path
import importlib.util
from windlass.errors import *
from windlass.plugins import hookimpl
from windlass_testkit.fakes import PLUGIN_FILE, faulty
from windlass_testkit.fakes.images import *
from windlass_testkit.fakes.images import hub_named
from windlass_testkit.fakes.memory import *
from windlass_testkit.fakes.serializer import *
from windlass_testkit.fakes.storage import *

spec = importlib.util.spec_from_file_location("honest", PLUGIN_FILE)
honest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(honest)

{body}

@hookimpl
def windlass_{hook}():
    yield replace(honest.{descriptor}, create=lambda c, context: {create}{changes})
"""

KINDS = {
    "builder": ("builders", "BUILDER", "Liar(hub_named(str(context.settings.home)))"),
    "registry": ("registries", "REGISTRY", "Liar(hub_named(str(context.settings.home)), c)"),
    "environment": ("environments", "ENVIRONMENT", "Liar(c.account)"),
    "storage": ("storage_schemes", "STORAGE", "Liar(bucket_named(str(context.settings.home)))"),
    "serializer": ("serializers", "SERIALIZER", "Liar()"),
    "metastore": ("metastores", "METASTORE", "liar(c.url)"),
}

HEAD = """
import pytest
from windlass_testkit.fakes.images import BASE_IMAGE, hub_named
"""

SUITES = {
    "builder": """
from windlass_testkit.builders import BuilderContract
class TestLiar(BuilderContract):
    name, plugin_files = "fake", (LIAR,)
    @pytest.fixture
    def base_image(self):
        return BASE_IMAGE
    @pytest.fixture
    def remove_image(self, settings):
        return lambda image: hub_named(str(settings.home)).images.pop(image.uri, None)
""",
    "registry": """
from windlass_testkit.registries import RegistryContract
class TestLiar(RegistryContract):
    name, plugin_files = "fake", (LIAR,)
    @pytest.fixture
    def existing(self, settings):
        hub_named(str(settings.home)).images["registry.kit/team/image:1"] = "sha256:" + "a" * 64
        return "registry.kit/team/image:1", "sha256:" + "a" * 64
""",
    "environment": """
from windlass_testkit.environments import EnvironmentContract
class TestLiar(EnvironmentContract):
    name, plugin_files = "fake", (LIAR,)
    @pytest.fixture
    def refused(self):
        return {"account": ""}
""",
    "storage": """
from windlass_testkit.storage import StorageContract
class TestLiar(StorageContract):
    name, plugin_files = "memory", (LIAR,)
    @pytest.fixture
    def root(self, tmp_path):
        return f"kit://bucket{tmp_path}"
""",
    "serializer": """
from windlass_testkit.serializers import SerializerContract
class TestLiar(SerializerContract):
    name, plugin_files = "fake", (LIAR,)
    @pytest.fixture
    def sample(self):
        return {"rows": [[i, str(i)] for i in range(500)]}
    @pytest.fixture
    def unfit(self):
        return {1, 2}
""",
    "metastore": """
from windlass_testkit.metastores import MetadataStoreContract
class TestLiar(MetadataStoreContract):
    name, plugin_files = "memory", (LIAR,)
    @pytest.fixture
    def url(self, tmp_path):
        return f"memory://{tmp_path}"
""",
}


def part(name: str, cls: str, method: str) -> str:
    """A store one of whose parts has another method."""
    lines = "\n".join(f"    {line}" for line in method.strip().splitlines())
    return (
        f"from windlass_testkit.fakes.memory.{name} import *\nfrom windlass_testkit.fakes.faults import Faults\n"
        f"class Part({cls}):\n{lines}\n"
        f"def liar(url):\n    store = MemoryMetadataStore.at(url)\n"
        f"    store.{name} = Part(store.world, Faults())\n    return store\n"
    )


LIARS: list[tuple[str, str, str]] = [
    ("builder", "test_same_content_is_not_built_again", """
class Liar(FakeBuilder):
    def build(self, spec, log):
        return super().build(evolve(spec, build_args={**spec.build_args, "run": spec.run_id}), log)
"""),
    ("builder", "test_context_is_left_as_it_is", """
class Liar(FakeBuilder):
    def build(self, spec, log):
        Path(spec.context, ".cache").unlink(missing_ok=True)
        image = super().build(spec, log)
        Path(spec.context, ".cache").touch()
        return image
"""),
    ("builder", "test_missing_dockerfile_is_an_error", """
class Liar(FakeBuilder):
    def build(self, spec, log):
        try:
            return super().build(spec, log)
        except BuildError as error:
            raise (BuildError("something failed") if "there is no Dockerfile" in error.message else error) from None
"""),
    ("registry", "test_missing_digest_is_none", """
class Liar(FakeRegistry):
    def resolve(self, ref):
        return super().resolve(ref) or (ref.partition("@")[2] or None)
"""),
    ("registry", "test_unreachable_is_a_retryable_error", """
class Liar(FakeRegistry):
    def resolve(self, ref):
        try:
            return super().resolve(ref)
        except RegistryError as error:
            raise RegistryError(error.message, retryable=False) from None
"""),
    ("registry", "test_expiring_credentials_say_when", """
class Liar(FakeRegistry):
    def credentials(self, ref):
        return evolve(super().credentials(ref), expires_at=1.0)
"""),
    ("environment", "test_refused_credentials_are_an_access_error", """
class Liar(FakeEnvironment):
    def verify(self):
        return {"account": self.account or "anonymous"}
"""),
    ("environment", "test_accessors_are_what_is_declared", """
class Liar(FakeEnvironment):
    def google_credentials(self):
        return object()
"""),
    ("environment", "test_region_and_project_are_texts", """
class Liar(FakeEnvironment):
    project = None
"""),
    ("storage", "test_list_is_exact_and_in_order", """
class Liar(MemoryStorage):
    def list(self, prefix):
        return iter(sorted(super().list(prefix), key=lambda info: info.uri.replace("/", " ")))
"""),
    ("storage", "test_ranges", """
class Liar(MemoryStorage):
    def open(self, ref, start=0, length=-1):
        return super().open(ref, start, length or -1)
"""),
    ("storage", "test_put_of_a_missing_file", """
class Liar(MemoryStorage):
    def put(self, uri, source, *, if_absent=True):
        missing = isinstance(source, str) and not Path(source).exists()
        return super().put(uri, b"" if missing else source, if_absent=if_absent)
"""),
    ("serializer", "test_last_byte_missing", """
import json
class Liar(FakeSerializer):
    def dump(self, obj, file):
        super().dump(obj, file)
        file.write(b" ")
    def load(self, file):
        import io
        data = file.read()
        return super().load(io.BytesIO(data[:-1] if data.endswith(b" ") else data))
"""),
    ("serializer", "test_versions_are_text", """
class Liar(FakeSerializer):
    def versions(self):
        return {"fake": 1}
"""),
    ("serializer", "test_unfit_object_is_named", """
class Liar(FakeSerializer):
    def dump(self, obj, file):
        super().dump(sorted(obj) if isinstance(obj, set) else obj, file)
"""),
    ("metastore", "test_history_rows_are_merged_by_step", part("runs", "MemoryRuns", """
def metrics(self, run_id, after_step=-1, limit=1000):
    return super().metrics(run_id, after_step - 1 if after_step > 0 else after_step, limit)
""")),
    ("metastore", "test_same_content_is_no_new_version", part("artifacts", "MemoryArtifacts", """
def commit(self, new):
    done = super().commit(new)
    return done if done.created else type(done)(version=done.version, created=True)
""")),
    ("metastore", "test_a_run_token_is_good_for_its_run_and_attempt", part("access", "MemoryAccess", """
def role(self, principal, entity):
    from windlass.models.access import Role
    return Role.OWNER if principal.kind == "run" else super().role(principal, entity)
""")),
    ("metastore", "test_agents_are_registered_and_listed", part("agents", "MemoryAgents", """
def list(self, entity=""):
    return tuple(reversed(super().list(entity)))
""")),
    ("metastore", "test_submitters_take_turns_where_that_is_wanted", part("queues", "MemoryQueues", """
def create(self, queue):
    from attrs import evolve
    return super().create(evolve(queue, fair_share=False))
""")),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "test", "body"), LIARS, ids=[f"{kind}-{test}" for kind, test, _ in LIARS])
def test_liar(verdict: Verdict, kind: str, test: str, body: str) -> None:
    hook, descriptor, create = KINDS[kind]
    plugin = PLUGIN.format(body=body, hook=hook, descriptor=descriptor, create=create, changes="")
    outcomes = verdict(plugin, HEAD + SUITES[kind])
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == {test}
