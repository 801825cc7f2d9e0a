-- Other entities that content of a version, or of a share of one, was taken over from; JSON, empty for none.
ALTER TABLE versions ADD COLUMN origins TEXT NOT NULL DEFAULT '';
ALTER TABLE parts ADD COLUMN origins TEXT NOT NULL DEFAULT '';
