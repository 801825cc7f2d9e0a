-- Other entities that content of a version was taken over from; JSON, empty for none.
ALTER TABLE versions ADD COLUMN origins TEXT NOT NULL DEFAULT '';
