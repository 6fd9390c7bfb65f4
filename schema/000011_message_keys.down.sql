-- A retry that comes after this adds its message again.
SET LOCAL lock_timeout = '5s';

DROP TABLE message_keys;

DELETE FROM schema_version WHERE version = 13;
