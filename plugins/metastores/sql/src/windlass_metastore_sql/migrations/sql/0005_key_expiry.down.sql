-- An older program would accept for ever what was meant to end.
DELETE FROM api_keys WHERE expires_at > 0;
ALTER TABLE api_keys DROP COLUMN expires_at;
