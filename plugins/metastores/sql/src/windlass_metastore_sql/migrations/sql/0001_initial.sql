-- Runs. One column per field of windlass.models.run.Run; structured fields are JSON texts, '' is the default.
CREATE TABLE runs (
    seq {serial},
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL DEFAULT '',
    entity TEXT NOT NULL DEFAULT '',
    project TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    phase TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    queue TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL DEFAULT '',
    author TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 2,
    resource TEXT NOT NULL DEFAULT '',
    attempt INTEGER NOT NULL DEFAULT 1,
    fence BIGINT NOT NULL DEFAULT 0,
    agent TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    handle TEXT NOT NULL DEFAULT '',
    image TEXT NOT NULL DEFAULT '',
    exit_code BIGINT,
    config TEXT NOT NULL DEFAULT '',
    summary TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '',
    "group" TEXT NOT NULL DEFAULT '',
    job_type TEXT NOT NULL DEFAULT '',
    timings TEXT NOT NULL DEFAULT '',
    usage TEXT NOT NULL DEFAULT '',
    spec TEXT NOT NULL DEFAULT '',
    stop_requested INTEGER NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0,
    created_at {real} NOT NULL DEFAULT 0,
    queued_at {real} NOT NULL DEFAULT 0,
    claimed_at {real} NOT NULL DEFAULT 0,
    started_at {real} NOT NULL DEFAULT 0,
    finished_at {real} NOT NULL DEFAULT 0,
    heartbeat_at {real} NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_project ON runs (entity, project, seq);
CREATE INDEX runs_by_queue ON runs (queue, seq);
CREATE INDEX runs_by_agent ON runs (agent, seq) WHERE agent <> '';
CREATE INDEX runs_by_group ON runs ("group", seq) WHERE "group" <> '';
CREATE INDEX runs_live ON runs (state, seq) WHERE finished_at = 0;

CREATE TABLE metrics (
    run_id TEXT NOT NULL,
    step BIGINT NOT NULL,
    time {real} NOT NULL,
    "values" TEXT NOT NULL,
    PRIMARY KEY (run_id, step)
);

-- Logs: one row per stored chunk of pieces; `pos` is the position of its first piece.
CREATE TABLE logs (
    run_id TEXT NOT NULL PRIMARY KEY,
    next_pos BIGINT NOT NULL DEFAULT 0,
    size BIGINT NOT NULL DEFAULT 0,
    dropped BIGINT NOT NULL DEFAULT 0,
    dropped_from BIGINT NOT NULL DEFAULT -1,
    dropped_to BIGINT NOT NULL DEFAULT -1
);
CREATE TABLE log_chunks (
    run_id TEXT NOT NULL,
    pos BIGINT NOT NULL,
    count BIGINT NOT NULL,
    size BIGINT NOT NULL,
    data {blob} NOT NULL,
    PRIMARY KEY (run_id, pos)
);
CREATE TABLE log_cursors (
    run_id TEXT NOT NULL,
    source TEXT NOT NULL,
    cursor TEXT NOT NULL,
    PRIMARY KEY (run_id, source)
);

CREATE TABLE queues (
    id {serial},
    entity TEXT NOT NULL,
    name TEXT NOT NULL,
    resource TEXT NOT NULL,
    config TEXT NOT NULL DEFAULT '',
    templates TEXT NOT NULL DEFAULT '',
    open_fields TEXT NOT NULL DEFAULT '',
    prioritized INTEGER NOT NULL DEFAULT 0,
    fair_share INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    limits TEXT NOT NULL DEFAULT '',
    policy TEXT NOT NULL DEFAULT '',
    policy_max TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    last_at {real} NOT NULL DEFAULT 0,
    turn BIGINT NOT NULL DEFAULT 0,
    UNIQUE (entity, name)
);

-- Queue items that are not over: nothing else, so that a claim costs the same after millions of runs.
-- status: 0 waiting, 1 claimed, 2 delayed (not_before), 3 blocked (depends_on).
CREATE TABLE items (
    run_id TEXT NOT NULL PRIMARY KEY,
    queue_id BIGINT NOT NULL,
    status INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    rank {real} NOT NULL,
    pos BIGINT NOT NULL,
    author TEXT NOT NULL,
    not_before {real} NOT NULL DEFAULT 0,
    agent TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    fence BIGINT NOT NULL DEFAULT 0,
    lease_until {real} NOT NULL DEFAULT 0,
    lease_seconds {real} NOT NULL DEFAULT 0
);
CREATE INDEX items_waiting ON items (queue_id, rank, pos) WHERE status = 0;
CREATE INDEX items_waiting_by_author ON items (queue_id, author, rank, pos) WHERE status = 0;
CREATE INDEX items_claimed ON items (queue_id, lease_until) WHERE status = 1;
CREATE INDEX items_delayed ON items (not_before) WHERE status = 2;
CREATE TABLE item_needs (
    run_id TEXT NOT NULL,
    needs TEXT NOT NULL,
    PRIMARY KEY (run_id, needs)
);
CREATE INDEX item_needs_by_run ON item_needs (needs);
CREATE TABLE turns (
    queue_id BIGINT NOT NULL,
    author TEXT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (queue_id, author)
);

CREATE TABLE agents (
    seq {serial},
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    entity TEXT NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    version TEXT NOT NULL,
    queues TEXT NOT NULL,
    max_jobs BIGINT NOT NULL,
    state TEXT NOT NULL,
    runs TEXT NOT NULL,
    drain_requested INTEGER NOT NULL,
    created_at {real} NOT NULL,
    heartbeat_at {real} NOT NULL
);
CREATE INDEX agents_by_heartbeat ON agents (heartbeat_at);

CREATE TABLE collections (
    id {serial},
    entity TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '',
    protected_aliases TEXT NOT NULL DEFAULT '',
    next_version BIGINT NOT NULL DEFAULT 0,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    UNIQUE (entity, project, name)
);
CREATE TABLE versions (
    seq {serial},
    id TEXT NOT NULL UNIQUE,
    collection_id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    size BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    tags TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    ttl_seconds {real},
    run TEXT NOT NULL,
    signatures TEXT NOT NULL,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    deleted_at {real} NOT NULL DEFAULT 0,
    UNIQUE (collection_id, version)
);
CREATE UNIQUE INDEX versions_by_digest ON versions (collection_id, digest) WHERE deleted_at = 0;
CREATE INDEX versions_by_manifest ON versions (manifest);
CREATE INDEX versions_deleted ON versions (deleted_at) WHERE deleted_at > 0;
CREATE INDEX versions_with_ttl ON versions (created_at) WHERE ttl_seconds IS NOT NULL;
CREATE TABLE aliases (
    collection_id BIGINT NOT NULL,
    alias TEXT NOT NULL,
    version_id TEXT NOT NULL,
    PRIMARY KEY (collection_id, alias)
);
CREATE INDEX aliases_by_version ON aliases (version_id);
CREATE TABLE edges (
    kind TEXT NOT NULL,
    run TEXT NOT NULL,
    version TEXT NOT NULL,
    created_at {real} NOT NULL,
    PRIMARY KEY (run, version, kind)
);
CREATE INDEX edges_by_version ON edges (version);
CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    began_at {real} NOT NULL,
    renewed_at {real} NOT NULL
);
CREATE TABLE parts (
    entity TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    "group" TEXT NOT NULL,
    part TEXT NOT NULL,
    manifest TEXT NOT NULL,
    PRIMARY KEY (entity, project, name, "group", part)
);

CREATE TABLE users (
    name TEXT NOT NULL PRIMARY KEY,
    service INTEGER NOT NULL,
    admin INTEGER NOT NULL,
    created_at {real} NOT NULL
);
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    "user" TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at {real} NOT NULL,
    last_used_at {real} NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_by_user ON api_keys ("user");
CREATE TABLE run_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL
);
CREATE INDEX run_tokens_by_run ON run_tokens (run_id);
CREATE TABLE members (
    entity TEXT NOT NULL,
    "user" TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (entity, "user")
);

CREATE TABLE facts (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
