package postgres

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDirKeepsData(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	dir := filepath.Join(openTempDir(t), "not", "yet")
	s := start(t, h, Options{Dir: dir, Durable: true})
	if got := query(t, s.URL("postgres"), "SHOW fsync"); got != "on" {
		t.Errorf("a durable server has fsync %s", got)
	}
	query(t, s.URL("postgres"), "CREATE TABLE kept AS SELECT 42")
	stop(t, s)

	// Killed while it serves, by a process of its own.
	c := startChild(t, h, "start", dir)
	query(t, c.url(t), "INSERT INTO kept VALUES (43)")
	c.kill(t)

	s = start(t, h, Options{Dir: dir})
	if got := query(t, s.URL("postgres"), "SELECT string_agg(t::text, ' ') FROM kept t"); got != "(42) (43)" {
		t.Errorf("kept %s", got)
	}
}

func TestDirIsInUse(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	dir := filepath.Join(openTempDir(t), "dir")
	s := start(t, h, Options{Dir: dir})
	_, err := h.start(t.Context(), Options{Dir: dir})
	wantError(t, err, dir, "in use by another server")
	query(t, s.URL("postgres"), "SELECT 1")
}

func TestDirHoldsSomethingElse(t *testing.T) {
	t.Parallel()
	dir := openTempDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "data", "precious"), 0o755); err != nil {
		t.Fatal(err)
	}
	if o, err := ServerOwner(); err != nil {
		t.Fatal(err)
	} else if err := o.Own(dir); err != nil {
		t.Fatal(err)
	}
	_, err := testHost(t).start(t.Context(), Options{Dir: dir})
	wantError(t, err, "is not a database cluster")
	if _, err := os.Stat(filepath.Join(dir, "data", "precious")); err != nil {
		t.Error(err)
	}
}

func TestDirIsClosedToTheServersUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has somebody else run the server")
	}
	h := testHost(t)
	dir := filepath.Join(openTempDir(t), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := h.start(t.Context(), Options{Dir: filepath.Join(dir, "data")})
	wantError(t, err, "user "+h.owner.name, "cannot use "+dir, "chown")
}

func TestDirIsAFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := testHost(t).start(t.Context(), Options{Dir: filepath.Join(name, "dir")})
	wantError(t, err, "create the data directory")
}
