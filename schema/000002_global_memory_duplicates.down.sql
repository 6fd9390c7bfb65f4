-- Duplicates that were removed do not come back: they were lost writes.
DELETE FROM schema_version WHERE version = 4;
