-- The end of a run changes no index of runs, either: none asks for finished_at any more.
-- Which runs are live is told by items and, for runs that came through no queue, by this table.
CREATE TABLE tracked (run_id TEXT NOT NULL PRIMARY KEY);
INSERT INTO tracked SELECT id FROM runs
    WHERE finished_at = 0 AND state IN ('pending', 'running') AND id NOT IN (SELECT run_id FROM items);
DROP INDEX runs_live;
DROP INDEX runs_by_job;
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq);

-- limited: when it was claimed its queue had limits, so that its end makes room under them.
ALTER TABLE items ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;
UPDATE items SET limited = 1 WHERE status = 1 AND queue_id IN (SELECT id FROM queues WHERE limits <> '');
