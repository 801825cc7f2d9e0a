-- What lets a claim and the end of a run be one short statement each.
-- needed: another item waits for this one's run (item_needs), or did.
ALTER TABLE items ADD COLUMN needed INTEGER NOT NULL DEFAULT 0;
UPDATE items SET needed = 1 WHERE run_id IN (SELECT needs FROM item_needs);

-- A claim changes agent, state and phase of a run. No index holds them, so that it changes no index.
DROP INDEX runs_by_agent;
DROP INDEX runs_live;
CREATE INDEX runs_live ON runs (seq) WHERE finished_at = 0;
DROP INDEX runs_by_job;
CREATE INDEX runs_by_job ON runs (entity, queue, job, seq) WHERE finished_at > 0;
{room runs};
