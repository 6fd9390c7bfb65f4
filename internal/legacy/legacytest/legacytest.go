// Package legacytest makes SQLite files as servers of the first generation do, for tests.
package legacytest

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver
)

// File is a file with a connection that writes to it, as a server has one.
type File struct {
	Path string
	tb   testing.TB
	db   *sql.DB
}

// tables are those of schema version 3. The checks of the first generation are left out where a test may break them:
// in real files they were added later than the rows.
const tables = `
CREATE TABLE sessions (
	id TEXT PRIMARY KEY, purpose TEXT NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
	updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, is_active BOOLEAN DEFAULT TRUE, created_by TEXT NOT NULL, metadata TEXT);
CREATE TABLE messages (
	id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, sender TEXT, sender_type TEXT DEFAULT 'generic',
	content TEXT, visibility TEXT DEFAULT 'public', message_type TEXT DEFAULT 'agent_response', metadata TEXT,
	timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, parent_message_id INTEGER,
	FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE,
	FOREIGN KEY (parent_message_id) REFERENCES messages(id) ON DELETE SET NULL);
CREATE TABLE agent_memory (
	id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT, session_id TEXT, key TEXT, value TEXT, metadata TEXT,
	created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, expires_at TIMESTAMP,
	FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE);
CREATE TABLE audit_log (
	id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, event_type TEXT, agent_id TEXT,
	session_id TEXT, resource TEXT, action TEXT, result TEXT, metadata TEXT,
	FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE SET NULL);
CREATE TABLE secure_tokens (
	id INTEGER PRIMARY KEY AUTOINCREMENT, token_id TEXT, encrypted_jwt BLOB, agent_id TEXT, expires_at TIMESTAMP,
	created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, description TEXT);
CREATE INDEX idx_messages_session_id ON messages(session_id);
CREATE TRIGGER sessions_updated_at_trigger AFTER UPDATE ON sessions FOR EACH ROW
BEGIN UPDATE sessions SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id; END;
INSERT INTO schema_version (version) VALUES (1), (2), (3);`

// olderTables turns an empty file of version 3 into one of version 1 or 2.
const olderTables = `
DROP TABLE secure_tokens;
ALTER TABLE messages DROP COLUMN sender_type;
DELETE FROM schema_version WHERE version > ?;`

// New makes a file of schema version 1, 2 or 3 in WAL mode, without rows. Its connection is open until [File.Close] or the
// end of the test.
func New(tb testing.TB, version int) *File {
	tb.Helper()
	f := Open(tb, filepath.Join(tb.TempDir(), "chat_history.db"))
	f.Exec("PRAGMA journal_mode = WAL")
	f.Exec(tables)
	if version < 3 {
		f.Exec(olderTables, version)
	}
	return f
}

// Open opens a file, which is made when it is not there, for writing.
func Open(tb testing.TB, path string) *File {
	tb.Helper()
	name := url.URL{Scheme: "file", Path: path}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	f := &File{Path: path, tb: tb, db: db}
	tb.Cleanup(func() { _ = db.Close() }) // a test may have closed it
	return f
}

// Exec runs statements.
func (f *File) Exec(query string, arguments ...any) {
	f.tb.Helper()
	if _, err := f.db.ExecContext(f.tb.Context(), query, arguments...); err != nil {
		f.tb.Fatalf("%v: %s", err, query)
	}
}

// Insert adds a row of columns and values in turn.
func (f *File) Insert(table string, pairs ...any) {
	f.tb.Helper()
	var columns, marks []string
	var values []any
	for pair := range slices.Chunk(pairs, 2) {
		columns, marks, values = append(columns, fmt.Sprint(pair[0])), append(marks, "?"), append(values, pair[1])
	}
	f.Exec("INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(marks, ", ")+")", values...)
}

// Session adds a session.
func (f *File) Session(id string) {
	f.tb.Helper()
	f.Insert("sessions", "id", id, "purpose", "purpose of "+id, "created_by", "agent", "created_at", 1755906515.123456, "updated_at", 1755906516)
}

// Close closes the connection, by which SQLite works the -wal into the file and removes it.
func (f *File) Close() {
	f.tb.Helper()
	if err := f.db.Close(); err != nil {
		f.tb.Fatal(err)
	}
}

// Value returns a value of the row of an id.
func (f *File) Value(table, column string, id int) (value any) {
	f.tb.Helper()
	if err := f.db.QueryRowContext(f.tb.Context(), "SELECT +"+column+" FROM "+table+" WHERE id = ?", id).Scan(&value); err != nil {
		f.tb.Fatal(err)
	}
	return value
}
