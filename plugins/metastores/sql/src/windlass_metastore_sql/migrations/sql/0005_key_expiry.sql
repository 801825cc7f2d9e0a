-- From when an API key is refused; 0 is never.
ALTER TABLE api_keys ADD COLUMN expires_at {real} NOT NULL DEFAULT 0;
