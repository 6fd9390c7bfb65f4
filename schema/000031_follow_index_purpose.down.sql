SET LOCAL lock_timeout = '5s';

COMMENT ON INDEX idx_messages_follow_order IS NULL;

DELETE FROM schema_version WHERE version IN (32, 33);
