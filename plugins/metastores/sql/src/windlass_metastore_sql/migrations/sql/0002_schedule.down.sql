-- Triggers, budgets and what was spent are lost.
DROP TABLE triggers;
DROP TABLE occurrences;
DROP TABLE budgets;
DROP TABLE spending;
DROP INDEX runs_by_job;
DROP INDEX items_expiring;
ALTER TABLE queues DROP COLUMN prices;
ALTER TABLE runs DROP COLUMN cost;
ALTER TABLE items DROP COLUMN owner;
ALTER TABLE items DROP COLUMN rate;
ALTER TABLE items DROP COLUMN began_at;
ALTER TABLE items DROP COLUMN expires_at;
ALTER TABLE items DROP COLUMN deadline_at;
