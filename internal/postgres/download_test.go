package postgres

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ulikunitz/xz"
)

const fakePostgres = "#!/bin/sh\necho 'postgres (PostgreSQL) 17.11'\n"

// program is an archive's entry of a shell script.
func program(name, script string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o700, PAXRecords: map[string]string{"comment": script}}
}

func goodArchive() []tar.Header {
	return []tar.Header{
		{Typeflag: tar.TypeDir, Name: "share/", Mode: 0o700},
		program("./bin/postgres", fakePostgres),
		program("bin/initdb", "#!/bin/sh\n"),
		{Typeflag: tar.TypeSymlink, Name: "lib/libpq.so", Linkname: "../bin/initdb"},
	}
}

// jar packs entries as a jar; the script of a program is its content.
func jar(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	files := zip.NewWriter(&out)
	if _, err := files.Create("META-INF/MANIFEST.MF"); err != nil {
		t.Fatal(err)
	}
	file, err := files.Create("postgres-any.txz")
	if err != nil {
		t.Fatal(err)
	}
	packer, err := xz.NewWriter(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(packer)
	for _, header := range entries {
		content := header.PAXRecords["comment"]
		header.PAXRecords = nil
		header.Size = int64(len(content))
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{archive, packer, files} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func sum(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}

// serve has the finder download this content and counts how often it does.
func serve(t *testing.T, f *finder, content []byte) *atomic.Int32 {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	f.source = source{platform: "any", url: server.URL + "/a.jar", sha256: sum(content)}
	return &requests
}

func TestInstall(t *testing.T) {
	t.Parallel()
	f := testFinder(t)
	requests := serve(t, f, jar(t, goodArchive()))
	// A process that was killed while it downloaded.
	if err := os.MkdirAll(filepath.Join(f.cache, "download", "tree", "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := f.findOrInstall(t.Context())
			if want := filepath.Join(f.cache, "postgresql-"+downloadVersion, "bin"); err != nil || dir != want {
				t.Errorf("got %s (%v), want %s", dir, err, want)
			}
		})
	}
	wg.Wait()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	link, err := os.Readlink(filepath.Join(f.target(), "lib", "libpq.so"))
	if err != nil || link != "../bin/initdb" {
		t.Errorf("link to %s: %v", link, err)
	}
	for _, name := range []string{"", "share", "lib", "bin/postgres"} {
		info, err := os.Stat(filepath.Join(f.target(), name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o044 != 0o044 || name != "bin/postgres" && mode&0o111 != 0o111 {
			t.Errorf("%q has mode %#o, closed to others", name, mode)
		}
	}
	if _, err := os.Stat(filepath.Join(f.cache, "download")); err == nil {
		t.Error("files of the download are left")
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	good := jar(t, goodArchive())
	with := func(entries ...tar.Header) []byte { return jar(t, append(goodArchive(), entries...)) }
	for name, test := range map[string]struct {
		content []byte
		sum     string // of the content, if empty
		want    string
	}{
		"another checksum":    {content: good, sum: sum([]byte("else")), want: "SHA-256"},
		"a truncated jar":     {content: good[:len(good)-40], want: "zip"},
		"an empty jar":        {content: jar(t, nil), want: "no program"},
		"no jar":              {content: []byte("<html>"), want: "zip"},
		"a way up":            {content: with(program("../escaped", "")), want: "../escaped"},
		"a hidden way up":     {content: with(program("share/../../escaped", "")), want: "escaped"},
		"an absolute name":    {content: with(program("/tmp/escaped", "")), want: "/tmp/escaped"},
		"a directory above":   {content: with(tar.Header{Typeflag: tar.TypeDir, Name: "../escaped/"}), want: "outside"},
		"a link up":           {content: with(tar.Header{Typeflag: tar.TypeSymlink, Name: "lib/l", Linkname: "../../escaped"}), want: "outside"},
		"an absolute link":    {content: with(tar.Header{Typeflag: tar.TypeSymlink, Name: "lib/l", Linkname: "/etc"}), want: "outside"},
		"a hard link":         {content: with(tar.Header{Typeflag: tar.TypeLink, Name: "lib/l", Linkname: "bin/initdb"}), want: "unexpected type"},
		"a file twice":        {content: with(program("bin/initdb", "")), want: "exists"},
		"a server that fails": {content: jar(t, []tar.Header{program("bin/initdb", ""), program("bin/postgres", "#!/bin/sh\necho no libc >&2; exit 1\n")}), want: "no libc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := testFinder(t)
			serve(t, f, test.content)
			if test.sum != "" {
				f.source.sha256 = test.sum
			}
			_, err := f.findOrInstall(t.Context())
			wantError(t, err, test.want, f.source.url, "apt install postgresql")
			left, _ := filepath.Glob(filepath.Join(f.cache, "*"))
			if len(left) != 1 || filepath.Base(left[0]) != "lock" {
				t.Errorf("left in the cache: %q", left)
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(f.cache), "escaped")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
}

// The archive itself ends early although the jar is whole.
func TestUnpackTruncatedArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	files := zip.NewWriter(&out)
	file, err := files.Create("a.txz")
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	packer, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packer.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(packed.Bytes()[:packed.Len()/2]); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "jar")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpack(name, dir); err == nil {
		t.Error("no error")
	}
}

func TestDownloadFails(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"404 Not Found": http.NotFound,
		"unexpected EOF": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("too little"))
		},
	}
	for want, answer := range answers {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			defer server.Close()
			f := testFinder(t)
			f.source = source{url: server.URL + "/a.jar", sha256: sum(nil)}
			_, err := f.findOrInstall(t.Context())
			wantError(t, err, want, server.URL)
		})
	}
}

func TestMirror(t *testing.T) {
	t.Setenv(mavenEnv, "https://mirror.example/maven/")
	got := mavenSource().url
	if !strings.HasPrefix(got, "https://mirror.example/maven/io/zonky/test/postgres/embedded-postgres-binaries-") ||
		!strings.HasSuffix(got, "-"+downloadVersion+".jar") {
		t.Errorf("the URL is %s", got)
	}
}

// The real download, and a server of what it brought.
func TestDownloadedServer(t *testing.T) {
	if os.Getenv("SHAREDCONTEXT_TEST_DOWNLOAD") == "" {
		t.Skip("set SHAREDCONTEXT_TEST_DOWNLOAD=1 to download PostgreSQL")
	}
	t.Parallel()
	f := testFinder(t)
	f.source = mavenSource()
	h := testHost(t)
	h.binaries = func(ctx context.Context) (string, error) { return f.findOrInstall(ctx) }
	s := start(t, h, Options{})
	if got := query(t, s.URL("postgres"), "SHOW server_version"); !strings.HasPrefix(got, "17.11") {
		t.Errorf("version %s", got)
	}
	query(t, s.URL("postgres"), "CREATE EXTENSION pg_trgm")
}
