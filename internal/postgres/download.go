package postgres

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ulikunitz/xz"
)

// The programs that zonky.io builds and publishes, as jars that hold a .txz.
// Not by github.com/fergusstrange/embedded-postgres: its download cannot be
// called alone, it refuses root, takes a fixed TCP port, and leaves its server
// behind when it is killed.
const (
	downloadVersion = "17.11.0"
	mavenEnv        = "SHAREDCONTEXT_MAVEN_URL" // a mirror
	mavenCentral    = "https://repo1.maven.org/maven2"
)

// jarSums has the SHA-256 of each platform's jar of this version. The sums
// Maven Central publishes beside them are the same.
var jarSums = map[string]string{
	"linux-amd64":        "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d",
	"linux-arm64v8":      "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b",
	"linux-amd64-alpine": "ace9a6f95b1c98ce84c9841267cd04ebee5d7de5dc7b8fea148ead44f145afbd",
	"darwin-amd64":       "d464ff178e9860ba204662ac23fa547504b7fd392392ff2fb92e3fd73b5bdb64",
	"darwin-arm64v8":     "a1c2786acb0c398f9b2d76806fc52f5dc8b222cbc8e9383a9b9702084daaf3a5",
}

// source is a jar to download.
type source struct {
	platform string
	url      string
	sha256   string // empty if there is none for this platform
}

func mavenSource() source {
	platform := runtime.GOOS + "-" + runtime.GOARCH
	if runtime.GOARCH == "arm64" {
		platform += "v8"
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		platform += "-alpine"
	}
	name := "embedded-postgres-binaries-" + platform
	return source{
		platform: platform,
		url: fmt.Sprintf("%s/io/zonky/test/postgres/%s/%s/%[2]s-%[3]s.jar",
			strings.TrimRight(cmp.Or(os.Getenv(mavenEnv), mavenCentral), "/"), name, downloadVersion),
		sha256: jarSums[platform],
	}
}

// cacheDir returns where downloads are kept, or nothing if this user has no
// cache. Root's own cache would be closed to the user that runs the server.
func cacheDir(o Owner) string {
	if o.name != "" {
		return "/var/cache/sharedcontext"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sharedcontext")
}

func (f *finder) target() string {
	return filepath.Join(f.cache, "postgresql-"+downloadVersion)
}

// installed returns the directory of downloaded programs, or nothing.
func (f *finder) installed() string {
	dir := filepath.Join(f.target(), "bin")
	if _, err := os.Stat(dir); f.cache == "" || err != nil {
		return ""
	}
	return dir
}

// install downloads the programs unless that is done. One process does it at a
// time; the others wait, and find the result.
func (f *finder) install(ctx context.Context) (string, error) {
	if f.source.sha256 == "" {
		return "", fmt.Errorf("no PostgreSQL %s for %s to download", downloadVersion, f.source.platform)
	}
	if f.cache == "" {
		return "", errors.New("no directory to keep them in: set HOME or XDG_CACHE_HOME")
	}
	if err := makeOpenDir(f.cache); err != nil {
		return "", fmt.Errorf("create the cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(f.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("lock the cache: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := flock(ctx, lock); err != nil {
		return "", fmt.Errorf("wait for the download of another process: %w", err)
	}
	if dir := f.installed(); dir != "" {
		return dir, nil
	}
	// A process killed in its download left a directory of the same name.
	work := filepath.Join(f.cache, "download")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	tree := filepath.Join(work, "tree")
	if err := makeOpenDir(tree); err != nil {
		return "", err
	}
	jar := filepath.Join(work, "jar")
	if err := f.source.download(ctx, jar); err != nil {
		return "", fmt.Errorf("download %s: %w", f.source.url, err)
	}
	if err := unpack(jar, tree); err != nil {
		return "", fmt.Errorf("unpack %s: %w", f.source.url, err)
	}
	if _, err := f.version(ctx, filepath.Join(tree, "bin")); err != nil {
		return "", fmt.Errorf("try the programs of %s: %w", f.source.url, err)
	}
	if err := os.Rename(tree, f.target()); err != nil {
		return "", err
	}
	return f.installed(), nil
}

// makeOpenDir creates a directory that every user can enter, whatever the
// umask: another user may have to run what will be in it.
func makeOpenDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeOpenDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) { //nolint:gosec // programs for everybody
		return nil // another process was faster
	} else if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // programs for everybody
}

// download writes the jar to a file and verifies it.
func (s source) download(ctx context.Context, name string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	request.Close = true // one request: an idle connection would only be a leak
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	file, err := os.Create(name) //nolint:gosec // a file of our own
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, hash), response.Body); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != s.sha256 {
		return fmt.Errorf("its SHA-256 is %s instead of %s: it is damaged or not the original", sum, s.sha256)
	}
	return file.Close()
}

// unpack unpacks the archive in a jar into a directory.
func unpack(jar, dir string) error {
	files, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer func() { _ = files.Close() }()
	for _, file := range files.File {
		if path.Ext(file.Name) != ".txz" {
			continue
		}
		packed, err := file.Open()
		if err != nil {
			return err
		}
		defer func() { _ = packed.Close() }()
		unpacked, err := xz.NewReader(bufio.NewReader(packed))
		if err != nil {
			return err
		}
		return extract(tar.NewReader(unpacked), dir)
	}
	return errors.New("it holds no .txz archive")
}

// extract writes the files of an archive into a directory, and none outside:
// os.Root refuses every way out, also through links that came before.
func extract(archive *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := extractOne(root, header, archive); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

func extractOne(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if !filepath.IsLocal(name) {
		return errors.New("its name leads outside of the archive")
	}
	if header.Typeflag == tar.TypeDir {
		return makeOpenDirIn(root, name)
	}
	if err := makeOpenDirIn(root, path.Dir(name)); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		if _, err := io.Copy(file, content); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if header.Mode&0o111 != 0 {
			mode = 0o755
		}
		if err := file.Chmod(mode); err != nil {
			return err
		}
		return file.Close()
	case tar.TypeSymlink:
		// The server follows its links without regard to a root.
		if path.IsAbs(header.Linkname) || !filepath.IsLocal(path.Join(path.Dir(name), header.Linkname)) { //nolint:gosec // this is the check
			return fmt.Errorf("it links to %s, outside of the archive", header.Linkname)
		}
		return root.Symlink(header.Linkname, name)
	default:
		return fmt.Errorf("it has the unexpected type %q", header.Typeflag)
	}
}

func makeOpenDirIn(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if err := makeOpenDirIn(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}
