-- Path of a version that was collected: lineage goes on to name it. Empty while it is there.
ALTER TABLE edges ADD COLUMN collected TEXT NOT NULL DEFAULT '';
