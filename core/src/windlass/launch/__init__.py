"""The launch engine: from what a user types to a queue item, and from a queue item to code that can be run."""
