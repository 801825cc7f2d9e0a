DELETE FROM edges WHERE collected <> '';
ALTER TABLE edges DROP COLUMN collected;
