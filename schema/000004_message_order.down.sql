DROP INDEX CONCURRENTLY IF EXISTS idx_messages_session_order;
