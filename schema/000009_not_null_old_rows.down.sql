-- What was filled stays filled: the first generation reads it as well.
DELETE FROM schema_version WHERE version = 11;
