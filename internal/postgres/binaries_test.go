package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fakeBinaries makes a directory of programs that are shell scripts.
func fakeBinaries(t *testing.T, dir string, version int, initdb, postgres string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"initdb":   initdb,
		"postgres": fmt.Sprintf("if [ \"$1\" = --version ]; then echo 'postgres (PostgreSQL) %d.4 (Fake)'; exit; fi\n%s", version, postgres),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testFinder finds nothing but what the test adds.
func testFinder(t *testing.T) *finder {
	t.Helper()
	o, err := ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	return &finder{owner: o, cache: filepath.Join(openTempDir(t), "cache")}
}

func TestFindNamed(t *testing.T) {
	t.Parallel()
	dir := openTempDir(t)
	f := testFinder(t)
	f.patterns = []string{fakeBinaries(t, filepath.Join(dir, "installed"), 17, "", "")}
	f.named = fakeBinaries(t, filepath.Join(dir, "named"), 14, "", "")
	if got, err := f.find(t.Context()); err != nil || got != f.named {
		t.Errorf("found %s (%v), not the named one", got, err)
	}

	f.named = fakeBinaries(t, filepath.Join(dir, "old"), 13, "", "")
	_, err := f.findOrInstall(t.Context())
	wantError(t, err, binEnv, f.named, "PostgreSQL 13", "14 or later")

	f.named = dir
	_, err = f.findOrInstall(t.Context())
	wantError(t, err, binEnv, f.named, "no program initdb")

	f.named = filepath.Join(dir, "client")
	fakeBinaries(t, f.named, 17, "", "")
	if err := os.Chmod(filepath.Join(f.named, "postgres"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = f.findOrInstall(t.Context())
	wantError(t, err, binEnv, "no program postgres")
}

func TestFindInstalled(t *testing.T) {
	t.Parallel()
	dir := openTempDir(t)
	f := testFinder(t)
	if _, err := f.find(t.Context()); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("error %v", err)
	}
	f.patterns = []string{filepath.Join(dir, "*", "bin")}
	for version, major := range map[string]int{"9.6": 9, "14": 14, "16": 16, "15": 15} {
		fakeBinaries(t, filepath.Join(dir, version, "bin"), major, "", "")
	}
	if err := os.MkdirAll(filepath.Join(dir, "18", "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "16", "bin")
	if got, err := f.find(t.Context()); err != nil || got != want {
		t.Errorf("found %s (%v), want %s", got, err, want)
	}
}

func TestFindInPath(t *testing.T) {
	dir := openTempDir(t)
	real := fakeBinaries(t, filepath.Join(dir, "real"), 15, "", "")
	links := filepath.Join(dir, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	// Only postgres: its directory counts, not that of the link.
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	f := testFinder(t)
	f.programs = true
	if got, err := f.find(t.Context()); err != nil || got != real {
		t.Errorf("found %s (%v), want %s", got, err, real)
	}
	config := "#!/bin/sh\necho " + fakeBinaries(t, filepath.Join(dir, "configured"), 16, "", "") + "\n"
	if err := os.WriteFile(filepath.Join(links, "pg_config"), []byte(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := f.find(t.Context()); err != nil || got != filepath.Join(dir, "configured") {
		t.Errorf("found %s (%v), not that of pg_config", got, err)
	}
}

func TestNoBinaries(t *testing.T) {
	t.Parallel()
	f := testFinder(t)
	f.source = source{platform: "plan9-mips"}
	_, err := f.findOrInstall(t.Context())
	wantError(t, err, "no PostgreSQL programs", "plan9-mips", "apt install postgresql", "brew install", binEnv)
	if !errors.Is(err, ErrNoBinaries) {
		t.Errorf("error %v is not ErrNoBinaries", err)
	}
}
