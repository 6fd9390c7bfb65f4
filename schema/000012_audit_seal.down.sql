SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS audit_seal_horizon;
DROP TABLE IF EXISTS audit_seal;

DELETE FROM schema_version WHERE version = 14;
