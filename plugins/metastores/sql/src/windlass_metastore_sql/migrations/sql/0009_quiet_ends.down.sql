ALTER TABLE items DROP COLUMN limited;
DROP TABLE tracked;
DROP INDEX runs_by_job;
CREATE INDEX runs_live ON runs (seq) WHERE finished_at = 0;
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq) WHERE finished_at > 0;
