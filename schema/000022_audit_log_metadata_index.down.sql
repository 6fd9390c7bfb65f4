CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_audit_log_metadata_gin ON audit_log USING gin (metadata);
