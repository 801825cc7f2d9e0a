-- What an agent gives to its runs, so that the store can say which of it a waiting run lacks.
ALTER TABLE agents ADD COLUMN slots TEXT NOT NULL DEFAULT '';
