-- Duplicates that were removed do not come back: they were lost writes.
SET LOCAL lock_timeout = '5s';

DELETE FROM schema_version WHERE version = 4;
