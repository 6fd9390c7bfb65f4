-- Pages and counts of a session by visibility read idx_messages_visible_order.
DROP INDEX CONCURRENTLY IF EXISTS idx_messages_visibility_session;
