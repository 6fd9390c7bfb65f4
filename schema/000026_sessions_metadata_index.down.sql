CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_sessions_metadata_gin ON sessions USING gin (metadata);
