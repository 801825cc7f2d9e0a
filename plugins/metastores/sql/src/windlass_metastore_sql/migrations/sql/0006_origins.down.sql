-- An older program would take content of others for one's own, and load what runs code.
DELETE FROM edges WHERE version IN (SELECT id FROM versions WHERE origins <> '');
DELETE FROM aliases WHERE version_id IN (SELECT id FROM versions WHERE origins <> '');
DELETE FROM versions WHERE origins <> '';
ALTER TABLE versions DROP COLUMN origins;
