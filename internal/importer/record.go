package importer

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Record says that a file is in the database. It is written in the transaction that imports the file, into a table that
// the first import makes: a database without imports is not concerned.
type Record struct {
	Fingerprint string
	File        string
	ImportedAt  *time.Time // nil when new ids are reserved for it and it was not imported yet
	Settings    Settings
}

// makeRecords makes the table of records. Row-level security keeps it to its owner.
func (t *target) makeRecords(ctx context.Context) error {
	there, err := t.exists(ctx, "imported_files")
	if err != nil || there {
		return err
	}
	for _, sql := range []string{
		`CREATE TABLE imported_files (
			fingerprint text PRIMARY KEY,
			file text NOT NULL,
			imported_at timestamptz,
			settings jsonb NOT NULL
		)`,
		"COMMENT ON TABLE imported_files IS 'files of the first generation that sharedcontext import has imported, with what is needed to verify them'",
		"ALTER TABLE imported_files ENABLE ROW LEVEL SECURITY",
	} {
		if _, err := t.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// record returns what is known of a file, nil when it was never imported.
func (t *target) record(ctx context.Context, fingerprint string) (*Record, error) {
	there, err := t.exists(ctx, "imported_files")
	if err != nil || !there {
		return nil, err
	}
	r := &Record{Fingerprint: fingerprint}
	var settings []byte
	err = t.conn.QueryRow(ctx, "SELECT file, imported_at, settings::text FROM imported_files WHERE fingerprint = $1", fingerprint).
		Scan(&r.File, &r.ImportedAt, &settings)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(settings, &r.Settings)
}

// keepRecord writes that a file is imported, or else that its ids are reserved.
func (t *target) keepRecord(ctx context.Context, r *run, imported bool) error {
	settings, err := json.Marshal(r.result.Settings)
	if err != nil {
		return err
	}
	_, err = t.conn.Exec(ctx, `INSERT INTO imported_files (fingerprint, file, imported_at, settings)
		VALUES ($1, $2, CASE WHEN $4 THEN now() END, $3::text::jsonb)
		ON CONFLICT (fingerprint) DO UPDATE SET file = excluded.file, imported_at = excluded.imported_at, settings = excluded.settings`,
		r.result.Fingerprint, filepath.Base(r.file.Path), string(settings), imported)
	return err
}
