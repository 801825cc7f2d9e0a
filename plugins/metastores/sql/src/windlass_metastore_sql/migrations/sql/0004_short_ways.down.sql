ALTER TABLE items DROP COLUMN needed;
DROP INDEX runs_live;
DROP INDEX runs_by_job;
CREATE INDEX runs_by_agent ON runs (agent, seq) WHERE agent <> '';
CREATE INDEX runs_live ON runs (state, seq) WHERE finished_at = 0;
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq) WHERE state = 'finished';
{no room runs};
