"""The metadata store over a SQL database."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.errors import ConflictError, StoreError, UsageError
from windlass.metastore import BlobPlace, MetadataStore
from windlass.plugins import Context
from windlass.settings import default_entity
from windlass_metastore_sql.config import SqlConfig
from windlass_metastore_sql.database import Database

if TYPE_CHECKING:
    from windlass.blobs import BlobStore
    from windlass.models.access import Principal
    from windlass_metastore_sql.access import SqlAccess
    from windlass_metastore_sql.agents import SqlAgents
    from windlass_metastore_sql.artifacts import SqlArtifacts
    from windlass_metastore_sql.queues import SqlQueues
    from windlass_metastore_sql.runs import SqlRuns
    from windlass_metastore_sql.schedule import SqlSchedule

_BLOBS = "?blobs="


class SqlStore(MetadataStore, BlobPlace):
    """Runs, queues, agents, artifacts and access in one SQL database.

    Args:
        database: Where.
        context: The process it works for.
        blobs: URI of the blob store of a database that has none yet; else it must be the recorded one, or empty.
        default_blobs: What is recorded when `blobs` is empty.
    """

    def __init__(self, database: Database, context: Context, blobs: str, default_blobs: str) -> None:
        self._db = database
        self._context = context
        self._wanted_blobs = blobs
        self._default_blobs = default_blobs

    # Each part is loaded when it is first asked for: a command needs one or two of them, and their classes take time.

    @cached_property
    def runs(self) -> SqlRuns:  # type: ignore[override]
        """Runs, their history and logs."""
        from windlass_metastore_sql.runs import SqlRuns

        return SqlRuns(self._db)

    @cached_property
    def queues(self) -> SqlQueues:  # type: ignore[override]
        """Queues and claims."""
        from windlass_metastore_sql.queues import SqlQueues

        return SqlQueues(self._db)

    @cached_property
    def agents(self) -> SqlAgents:  # type: ignore[override]
        """Agents."""
        from windlass_metastore_sql.agents import SqlAgents

        return SqlAgents(self._db)

    @cached_property
    def artifacts(self) -> SqlArtifacts:  # type: ignore[override]
        """The index of artifacts."""
        from windlass_metastore_sql.artifacts import SqlArtifacts

        return SqlArtifacts(self._db)

    @cached_property
    def access(self) -> SqlAccess:  # type: ignore[override]
        """Users, keys and roles."""
        from windlass_metastore_sql.access import SqlAccess

        return SqlAccess(self._db)

    @cached_property
    def schedule(self) -> SqlSchedule:  # type: ignore[override]
        """Triggers and budgets."""
        from windlass_metastore_sql.schedule import SqlSchedule

        return SqlSchedule(self._db)

    @cached_property
    def blobs(self) -> BlobStore:  # type: ignore[override]
        """The blob store at the recorded URI."""
        from windlass.artifacts.blobstore import StorageBlobStore

        root = self.blob_root()
        return StorageBlobStore(self._context.app.storage_for(root), root)

    def blob_root(self) -> str:
        """URI of the blob store, recorded when it is first asked for.

        Raises:
            StoreError: Another one than the recorded is wanted.
        """
        with self._db.read() as tx:
            row = tx.row("SELECT value FROM facts WHERE name = 'blobs'")
        if row is None:
            with self._db.write() as tx:
                tx.run(
                    "INSERT INTO facts (name, value) VALUES ('blobs', ?) ON CONFLICT (name) DO NOTHING",
                    self._wanted_blobs or self._default_blobs,
                )
                row = tx.row("SELECT value FROM facts WHERE name = 'blobs'")
        root = str(row[0]) if row else ""
        if self._wanted_blobs and self._wanted_blobs != root:
            raise StoreError(
                f"the blobs of this database are at {root}, not at {self._wanted_blobs}",
                where="WINDLASS_BASE_URL",
                hint="Leave out ?blobs=…, or move the blobs: windlass store blobs URI --copy",
            )
        return root

    def move_blob_root(self, before: str, after: str) -> None:
        """See `BlobPlace.move_blob_root`. Other processes that are at work go on with the old one until they end."""
        with self._db.write() as tx:
            changed = tx.run("UPDATE facts SET value = ? WHERE name = 'blobs' AND value = ?", after, before)
        if not changed:
            raise ConflictError(f"the blobs of this database are not at {before} any more", where="store blobs")
        self._wanted_blobs = ""
        self.__dict__.pop("blobs", None)

    def whoami(self) -> Principal:
        """Whoever can open the database may do everything in it."""
        from windlass.models.access import Principal

        return Principal(kind="local", name=default_entity(), admin=True)

    def now(self) -> float:
        """See `MetadataStore.now`."""
        return self._db.now()

    def migrate(self) -> None:
        """See `MetadataStore.migrate`."""
        self._db.migrate()

    def check(self) -> None:
        """See `MetadataStore.check`."""
        self._db.check()

    def copy_to(self, target: MetadataStore) -> dict[str, int]:
        """See `MetadataStore.copy_to`. Blobs are copied when the target keeps them elsewhere."""
        if not isinstance(target, SqlStore):
            return super().copy_to(target)
        from windlass_metastore_sql.copying import copy
        from windlass_metastore_sql.sqlite import SqliteDatabase

        elsewhere = self.blob_root() != target.blob_root()
        blobs = _copy_blobs(self.blobs, target.blobs) if elsewhere else 0  # first: an index never lies
        counts = copy(self._db, target._db, postgresql=not isinstance(target._db, SqliteDatabase))
        return {**counts, "blobs": blobs}

    def close(self) -> None:
        """Close connections and bells. May be repeated."""
        if "blobs" in self.__dict__:
            self.blobs.close()
        self._db.close()


def _copy_blobs(source: BlobStore, target: BlobStore) -> int:
    import shutil
    import tempfile

    count = 0
    for info in source.list():
        if target.missing([info.digest]):
            with tempfile.NamedTemporaryFile() as file, source.open(info.digest) as stream:
                shutil.copyfileobj(stream, file, 1024 * 1024)
                file.flush()
                target.put(info.digest, file.name)  # verified on the way
            count += 1
    return count


def open_store(config: SqlConfig, context: Context) -> SqlStore:
    """Open the store of a URL. A SQLite file is made, or its schema upgraded, when needed."""
    url, _, blobs = config.url.partition(_BLOBS)
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        try:
            from windlass_metastore_sql.postgres import PostgresDatabase
        except ImportError as missing:
            hint = 'pip install "windlass-metastore-sql[postgresql]"'
            raise StoreError(f"PostgreSQL needs psycopg: {missing}", hint=hint) from None

        database: Database = PostgresDatabase(url, config)
        default = (context.settings.home / "blobs").as_uri()
    else:
        from windlass_metastore_sql.sqlite import SqliteDatabase

        if not rest.startswith("/") or len(rest) < 2:
            raise UsageError(f"{config.url!r} names no file", where="WINDLASS_BASE_URL", hint="sqlite:///PATH")
        path = Path(rest[1:]).expanduser().absolute()
        database = SqliteDatabase(path, config.timeout, context.clock)
        default = (path.parent / "blobs").as_uri()
    store = SqlStore(database, context, blobs, default)
    try:
        if config.schema_version:
            store.migrate()
            database.take_back(config.schema_version)
        elif config.upgrade or scheme == "sqlite":
            store.migrate()
        else:
            store.check()
    except BaseException:
        store.close()
        raise
    return store
