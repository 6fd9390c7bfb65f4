CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_sessions_created_by ON sessions (created_by);
