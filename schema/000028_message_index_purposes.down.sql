SET LOCAL lock_timeout = '5s';

COMMENT ON INDEX idx_messages_session_order IS 'pages, time ranges, latest messages and counts of one session; foreign key to sessions';
COMMENT ON INDEX idx_messages_visible_order IS NULL;
COMMENT ON INDEX idx_messages_sender_order IS NULL;
COMMENT ON INDEX idx_messages_kin_order IS NULL;
COMMENT ON INDEX idx_agent_memory_unique_global IS 'set and get of global memory, list of global memory by key';

DELETE FROM schema_version WHERE version BETWEEN 20 AND 30;
