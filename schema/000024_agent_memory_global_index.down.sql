CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agent_memory_agent_global ON agent_memory (agent_id) WHERE session_id IS NULL;
