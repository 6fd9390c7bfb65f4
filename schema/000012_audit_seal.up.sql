-- Makes later changes of the audit log show. Blocks of rows are sealed some time after they were written, so that who
-- writes pays nothing; each block holds the digests of its rows and the digest of the block before.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS audit_seal (
    seal_no bigint PRIMARY KEY,
    after_id bigint NOT NULL,
    last_id bigint NOT NULL,
    row_count integer NOT NULL,
    newest timestamptz NOT NULL,
    ids bigint[],
    timestamps timestamp[],
    session_ids text[],
    row_digests bytea,
    content_digest bytea NOT NULL,
    previous_digest bytea NOT NULL,
    digest bytea NOT NULL,
    sealed_at timestamptz NOT NULL
);
COMMENT ON TABLE audit_seal IS 'digests of the audit rows with after_id < id <= last_id, 32 bytes each in the order of ids; NULL once the rows have expired';

CREATE TABLE IF NOT EXISTS audit_seal_horizon (
    only_row boolean PRIMARY KEY DEFAULT true,
    last_id bigint NOT NULL,
    holders text[] NOT NULL,
    CONSTRAINT audit_seal_horizon_only_row CHECK (only_row)
);
COMMENT ON TABLE audit_seal_horizon IS 'audit rows up to last_id may be sealed when the transactions holders have ended';

CREATE INDEX IF NOT EXISTS idx_audit_seal_newest ON audit_seal (newest) WHERE ids IS NOT NULL;
COMMENT ON INDEX idx_audit_seal_newest IS 'cleanup of seals whose rows have expired';

INSERT INTO schema_version (version, description)
VALUES (14, 'Seals of the audit log')
ON CONFLICT (version) DO NOTHING;
