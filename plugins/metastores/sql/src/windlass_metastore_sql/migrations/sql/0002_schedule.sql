-- What starts runs without anybody asking, what runs may cost, and how long items may wait.
ALTER TABLE queues ADD COLUMN prices TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN cost {real} NOT NULL DEFAULT 0;

-- owner: entity of the run. rate: money per hour. began_at: when the attempt began to run, 0 before that.
-- expires_at: a waiting item is killed then, 0 never. deadline_at: its last value, when only the deadline counts.
ALTER TABLE items ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE items ADD COLUMN rate {real} NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN began_at {real} NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN expires_at {real} NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN deadline_at {real} NOT NULL DEFAULT 0;
UPDATE items SET owner = (SELECT entity FROM runs WHERE runs.id = items.run_id);
CREATE INDEX items_expiring ON items (expires_at) WHERE expires_at > 0 AND status <> 1;

-- Runs that are over, for forecasts: the newest of a queue and job.
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq) WHERE state = 'finished';

CREATE TABLE triggers (
    id {serial},
    entity TEXT NOT NULL,
    name TEXT NOT NULL,
    event TEXT NOT NULL,
    queue TEXT NOT NULL,
    spec TEXT NOT NULL,
    artifact_project TEXT NOT NULL,
    artifact_name TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    alias TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    project TEXT NOT NULL,
    run_name TEXT NOT NULL,
    author TEXT NOT NULL,
    priority INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    next_at {real} NOT NULL,
    fired BIGINT NOT NULL,
    last_run TEXT NOT NULL,
    last_at {real} NOT NULL,
    error TEXT NOT NULL,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    UNIQUE (entity, name)
);
CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at > 0;

-- Events that have happened and whose request is not on its queue yet.
CREATE TABLE occurrences (
    trigger_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    "values" TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (trigger_id, key)
);

CREATE TABLE budgets (
    entity TEXT NOT NULL,
    "user" TEXT NOT NULL,
    unit TEXT NOT NULL,
    "limit" {real} NOT NULL,
    PRIMARY KEY (entity, "user", unit)
);
-- Attempts that are over, added up.
CREATE TABLE spending (
    entity TEXT NOT NULL,
    month TEXT NOT NULL,
    "user" TEXT NOT NULL,
    hours {real} NOT NULL,
    money {real} NOT NULL,
    PRIMARY KEY (entity, month, "user")
);
