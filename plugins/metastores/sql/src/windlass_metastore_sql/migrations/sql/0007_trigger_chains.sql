-- The triggers that led to the run which made an event happen: JSON, empty for none.
ALTER TABLE occurrences ADD COLUMN chain TEXT NOT NULL DEFAULT '';
