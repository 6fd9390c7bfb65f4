package legacy_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names returns what is in the directory of a file.
func names(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func contents(t *testing.T, path string) string {
	t.Helper()
	var all []string
	for _, suffix := range []string{"", "-wal", "-journal"} {
		text, _ := os.ReadFile(path + suffix)
		all = append(all, suffix, string(text))
	}
	return strings.Join(all, "")
}

// sessions opens a file, checks how that was done and that nothing changed, and returns the ids of its sessions.
func sessions(t *testing.T, path string, access legacy.Access) []string {
	t.Helper()
	before, text := names(t, path), contents(t, path)
	f, err := legacy.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Access != access {
		t.Errorf("opened %s, want %s", f.Access, access)
	}
	ids := readSessions(t, f)
	if err := f.Unchanged(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, names(t, path)); diff != "" {
		t.Errorf("files beside it (-before +after):\n%s", diff)
	}
	if contents(t, path) != text {
		t.Error("the file was changed")
	}
	return ids
}

func readSessions(t *testing.T, f *legacy.File) []string {
	t.Helper()
	var ids []string
	err := f.Rows(t.Context(), &canonical.Sessions, func(row *legacy.Row) error {
		ids = append(ids, row.Values[0].Bytes)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

func TestOpenClosedFile(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session("a")
	file.Close()
	want(t, sessions(t, file.Path, legacy.AccessImmutable), "a")
}

// TestOpenLiveFile reads what is only in the -wal, and only what was there at the beginning.
func TestOpenLiveFile(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session("a")
	want(t, sessions(t, file.Path, legacy.AccessShared), "a")
	f, err := legacy.Open(t.Context(), file.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, err := f.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file.Session("b")
	file.Exec("PRAGMA wal_checkpoint(PASSIVE)")
	want(t, readSessions(t, f), "a")
	if after, err := f.Fingerprint(t.Context()); err != nil || after != before {
		t.Errorf("the fingerprint of the snapshot changes: %v", err)
	}
	want(t, sessions(t, file.Path, legacy.AccessShared), "a", "b")
}

// TestOpenCopiedPair opens a file and its -wal that were copied from a server at work.
func TestOpenCopiedPair(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session("only in the -wal")
	path := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(file.Path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, text, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	want(t, sessions(t, path, legacy.AccessCopy), "only in the -wal")
}

func TestOpenRollbackJournal(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Exec("PRAGMA journal_mode = DELETE")
	file.Session("a")
	want(t, sessions(t, file.Path, legacy.AccessShared), "a")
	file.Exec("BEGIN IMMEDIATE")
	file.Session("b")
	want(t, sessions(t, file.Path, legacy.AccessShared), "a")
	file.Exec("COMMIT")
	file.Exec("PRAGMA locking_mode = EXCLUSIVE")
	file.Session("c")
	_, err := legacy.Open(t.Context(), file.Path)
	if err == nil || !strings.Contains(err.Error(), "is locked by another process; stop the server") {
		t.Errorf("a locked file: %v", err)
	}
}

// TestOpenHotJournal opens a file whose writer died in the middle of a transaction.
func TestOpenHotJournal(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Exec("PRAGMA journal_mode = DELETE")
	file.Session("a")
	file.Exec("PRAGMA cache_size = 1")
	file.Exec("BEGIN IMMEDIATE")
	for range 200 {
		file.Insert("messages", "session_id", "a", "sender", "x", "content", strings.Repeat("x", 1000))
	}
	path := filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", "-journal"} {
		text, err := os.ReadFile(file.Path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want(t, sessions(t, path, legacy.AccessCopy), "a")
}

// TestImmutableFileChanges notices a server that starts while a file is read that nobody had open.
func TestImmutableFileChanges(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session("a")
	file.Close()
	f, err := legacy.Open(t.Context(), file.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	server := legacytest.Open(t, file.Path)
	server.Session("b")
	server.Close()
	if err := f.Unchanged(); err == nil || !strings.Contains(err.Error(), "was written to while it was read") {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := legacytest.Open(t, filepath.Join(directory, "foreign.db"))
	foreign.Exec("CREATE TABLE sessions (id TEXT, other TEXT)")
	foreign.Close()
	tableless := legacytest.Open(t, filepath.Join(directory, "tableless.db"))
	tableless.Exec("PRAGMA user_version = 1")
	tableless.Close()
	whole := legacytest.New(t, 3)
	for range 100 {
		whole.Insert("messages", "session_id", "a", "sender", "x", "content", strings.Repeat("x", 500))
	}
	whole.Close()
	text, err := os.ReadFile(whole.Path)
	if err != nil {
		t.Fatal(err)
	}
	for path, problem := range map[string]string{
		filepath.Join(directory, "none.db"): "does not exist; name the file",
		directory:                           "is not a file",
		write("empty.db", ""):               "is empty: no server",
		write("noise.db", strings.Repeat("encrypted noise", 9)):                                    "is not an SQLite database, or is encrypted",
		write("header.db", string(text[:64])):                                                      "header.db ",
		write("scribbled.db", string(text[:100])+strings.Repeat("\xff", 3996)+string(text[4096:])): "is damaged; restore a backup",
		foreign.Path:   "is of another program: it has no sessions.purpose",
		tableless.Path: "is empty: it has no tables",
	} {
		f, err := legacy.Open(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), problem) || !strings.HasPrefix(err.Error(), path+" ") {
			t.Errorf("%s: %v, want %q", path, err, problem)
		}
		if f != nil {
			t.Errorf("%s: a file with an error", path)
		}
	}
	// Damage behind the schema is found by Check, or by reading it.
	damaged := write("damaged.db", string(text[:len(text)-20_000])+strings.Repeat("\x00\xff", 10_000))
	f, err := legacy.Open(t.Context(), damaged)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("damaged pages: %v", err)
	}
}

func TestOpenInterrupted(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := legacy.Open(ctx, file.Path); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v", err)
	}
}

// TestOpenStaleShm opens a file beside which somebody who only read has left a -shm and an empty -wal.
func TestOpenStaleShm(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session("a")
	shm, err := os.ReadFile(file.Path + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	for suffix, text := range map[string][]byte{"-shm": shm, "-wal": nil} {
		if err := os.WriteFile(file.Path+suffix, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want(t, sessions(t, file.Path, legacy.AccessShared), "a")
}
