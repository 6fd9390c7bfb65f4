CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_metadata_gin ON messages USING gin (metadata);
