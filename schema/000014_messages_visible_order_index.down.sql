DROP INDEX CONCURRENTLY IF EXISTS idx_messages_visible_order;
