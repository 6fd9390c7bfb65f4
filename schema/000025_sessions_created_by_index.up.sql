-- No operation reads sessions by who created them.
DROP INDEX CONCURRENTLY IF EXISTS idx_sessions_created_by;
