CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agent_memory_metadata_gin ON agent_memory USING gin (metadata);
