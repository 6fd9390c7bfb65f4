DROP INDEX CONCURRENTLY IF EXISTS idx_messages_follow_order;
