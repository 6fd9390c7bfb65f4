-- What was filled stays filled: the first generation reads it as well.
SET LOCAL lock_timeout = '5s';

DELETE FROM schema_version WHERE version = 11;
