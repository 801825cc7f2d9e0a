-- Events that triggers have led to: an older program would let these triggers start each other.
DELETE FROM occurrences WHERE chain <> '';
ALTER TABLE occurrences DROP COLUMN chain;
