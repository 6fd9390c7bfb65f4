package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// BuildSearchIndex makes the index that a search of the whole history needs to be fast, or makes it anew up to now, and
// then drops the old one. It reads all messages, about a minute for a million, and blocks nobody; writers do not pay for
// it, as it holds only what is older than the build: what is newer is read by each search. Build it anew from time to
// time, for instance every night.
//
// It needs the extension pg_trgm, which it installs where it is missing: into the schema extensions, if that exists, else
// into that of the tables. Where it cannot be installed the error says so; nothing else of the store needs it.
func (m *Migrator) BuildSearchIndex(ctx context.Context) error {
	const operation = "build search index"
	status, err := m.Status()
	if err != nil {
		return err
	}
	if status.Version < status.Latest || status.Dirty {
		return schemaError(operation, fmt.Errorf("the database is at migration %d of %d: run \"sharedcontext migrate up\" first", status.Version, status.Latest))
	}
	opclass, err := m.trigramOperators(ctx)
	if err != nil {
		return schemaError(operation, fmt.Errorf("the extension pg_trgm cannot be installed: %w", withoutFile(err)))
	}
	var now time.Time
	if err := m.lock.QueryRowContext(ctx, "SELECT now()").Scan(&now); err != nil {
		return schemaError(operation, err)
	}
	before := "'" + now.UTC().Format("2006-01-02 15:04:05.000000") + "+00'"
	for _, statement := range []string{
		fmt.Sprintf(`CREATE INDEX CONCURRENTLY idx_messages_search_short_%d ON messages
			(session_id, (char_length(sender) + char_length(content)))
			WHERE char_length(sender) + char_length(content) < %d AND timestamp < %s`, now.UnixMicro(), maxShortText, before),
		fmt.Sprintf(`CREATE INDEX CONCURRENTLY idx_messages_search_text_%d ON messages
			USING gin (message_search_text(sender, content, metadata) %s) WHERE timestamp < %s`, now.UnixMicro(), opclass, before),
	} {
		if err := m.concurrently(ctx, statement); err != nil {
			return schemaError(operation, err)
		}
	}
	// The planner's statistics of the expressions.
	if err := m.concurrently(ctx, "ANALYZE messages"); err != nil {
		return schemaError(operation, err)
	}
	return schemaError(operation, m.dropSearchIndexes(ctx, strconv.FormatInt(now.UnixMicro(), 10)))
}

// DropSearchIndex drops the search index. A search of the whole history reads all of it then.
func (m *Migrator) DropSearchIndex(ctx context.Context) error {
	return schemaError("drop search index", m.dropSearchIndexes(ctx, ""))
}

// trigramOperators returns the operator class of the extension pg_trgm, which it installs where it is missing.
func (m *Migrator) trigramOperators(ctx context.Context) (string, error) {
	_, err := m.lock.ExecContext(ctx, `DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_trgm') THEN
        IF to_regnamespace('extensions') IS NOT NULL THEN
            CREATE EXTENSION pg_trgm WITH SCHEMA extensions;
        ELSE
            CREATE EXTENSION pg_trgm;
        END IF;
    END IF;
END;
$$`)
	if err != nil {
		return "", err
	}
	var namespace string
	err = m.lock.QueryRowContext(ctx, "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'").Scan(&namespace)
	return pgx.Identifier{namespace, "gin_trgm_ops"}.Sanitize(), err
}

// dropSearchIndexes drops the search indexes, also what an interrupted build has left, but for those whose names end with
// keep.
func (m *Migrator) dropSearchIndexes(ctx context.Context, keep string) error {
	var drops string
	err := m.lock.QueryRowContext(ctx, `SELECT coalesce(string_agg(format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', c.relnamespace::regnamespace, c.relname), ';'), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE i.indrelid = 'messages'::regclass AND c.relname LIKE 'idx\_messages\_search\_%' AND c.relname NOT LIKE '%\_' || $1`, keep).Scan(&drops)
	if err != nil {
		return err
	}
	for drop := range strings.SplitSeq(drops, ";") {
		if drop == "" {
			continue
		}
		if err := m.concurrently(ctx, drop); err != nil {
			return err
		}
	}
	return nil
}
