CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agent_expires ON secure_tokens (agent_id, expires_at);
