-- A prefix of idx_messages_session_order, which serves the same queries.
DROP INDEX CONCURRENTLY IF EXISTS idx_messages_session_id;
