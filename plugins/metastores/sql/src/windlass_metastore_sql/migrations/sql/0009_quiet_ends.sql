-- The end of a run changes no index of runs, either: none asks for finished_at any more.
-- Which runs are live is told by items and, for runs that came through no queue, by this table.
CREATE TABLE tracked (run_id TEXT NOT NULL PRIMARY KEY);
INSERT INTO tracked SELECT id FROM runs
    WHERE finished_at = 0 AND state IN ('pending', 'running') AND id NOT IN (SELECT run_id FROM items);
DROP INDEX runs_live;
DROP INDEX runs_by_job;
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq);
