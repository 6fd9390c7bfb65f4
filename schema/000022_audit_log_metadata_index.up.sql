-- No operation filters by metadata, and every write of an operation paid for it: docs/performance.md.
DROP INDEX CONCURRENTLY IF EXISTS idx_audit_log_metadata_gin;
