"""A batch as somebody reads it in the morning: a pure read model of what is on record, and what is made of it."""
