package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	binEnv     = "SHAREDCONTEXT_POSTGRES_BIN" // a directory of PostgreSQL programs
	oldestUsed = 14                           // the oldest major version that is used
)

// ErrNoBinaries says that neither installed nor downloaded PostgreSQL programs
// were found.
var ErrNoBinaries = errors.New("no PostgreSQL programs found (initdb and postgres, version 14 or later)")

// installAdvice ends the error of a person who has no server.
const installAdvice = "install PostgreSQL (Debian: apt install postgresql; macOS: brew install postgresql@17) or set " +
	binEnv + " to the directory of its programs"

// FindBinaries returns the directory of the programs that Start uses: the one
// that SHAREDCONTEXT_POSTGRES_BIN names, else an installed one, else one that
// InstallBinaries downloaded. The error is ErrNoBinaries if there is none.
func FindBinaries(ctx context.Context) (string, error) {
	f, err := systemFinder()
	if err != nil {
		return "", fmt.Errorf("postgres: find binaries: %w", err)
	}
	dir, err := f.find(ctx)
	if err != nil {
		return "", fmt.Errorf("postgres: find binaries: %w", err)
	}
	return dir, nil
}

// InstallBinaries downloads the PostgreSQL programs, about 15 MB on Linux and
// 62 MB on macOS, into the user's cache and returns their directory. Without
// need it downloads nothing. Start calls it when it finds no others.
//
// They come from Maven Central, or from the mirror that SHAREDCONTEXT_MAVEN_URL
// names, and are checked against a checksum in this package.
func InstallBinaries(ctx context.Context) (string, error) {
	f, err := systemFinder()
	if err != nil {
		return "", fmt.Errorf("postgres: install binaries: %w", err)
	}
	dir, err := f.install(ctx)
	if err != nil {
		return "", fmt.Errorf("postgres: install binaries: %w", err)
	}
	return dir, nil
}

// finder looks for the programs. Its fields are where it looks.
type finder struct {
	owner    Owner    // the user that must be able to run them
	named    string   // a directory that must have them
	programs bool     // ask pg_config and PATH
	patterns []string // of directories
	cache    string   // of downloads
	source   source
}

func newFinder(o Owner) *finder {
	return &finder{
		owner:    o,
		named:    os.Getenv(binEnv),
		programs: true,
		patterns: []string{
			"/usr/lib/postgresql/*/bin", // Debian, which keeps them off PATH
			"/usr/pgsql-*/bin",          // PostgreSQL's own packages for Red Hat
			"/usr/libexec/postgresql*",  // Alpine
			"/usr/local/pgsql/bin",      // built from source
			"/opt/homebrew/opt/postgresql@*/bin",
			"/usr/local/opt/postgresql@*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin",
		},
		cache:  cacheDir(o),
		source: mavenSource(),
	}
}

func systemFinder() (*finder, error) {
	o, err := ServerOwner()
	if err != nil {
		return nil, err
	}
	return newFinder(o), nil
}

// findOrInstall returns a directory of programs, downloaded if need be.
func (f *finder) findOrInstall(ctx context.Context) (string, error) {
	dir, err := f.find(ctx)
	if !errors.Is(err, ErrNoBinaries) {
		return dir, err
	}
	dir, installErr := f.install(ctx)
	if installErr != nil {
		return "", fmt.Errorf("%w, and they cannot be downloaded: %w; %s", err, installErr, installAdvice)
	}
	return dir, nil
}

func (f *finder) find(ctx context.Context) (string, error) {
	if f.named != "" {
		if _, err := f.version(ctx, f.named); err != nil {
			return "", fmt.Errorf("%s is %s: %w", binEnv, f.named, err)
		}
		return f.named, nil
	}
	if f.programs {
		for _, dir := range []string{configuredDir(ctx), pathDir()} {
			if dir == "" {
				continue
			}
			if _, err := f.version(ctx, dir); err == nil {
				return dir, nil
			}
		}
	}
	best, newest := "", 0
	for _, pattern := range f.patterns {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			if version, err := f.version(ctx, dir); err == nil && version > newest {
				best, newest = dir, version
			}
		}
	}
	if best != "" {
		return best, nil
	}
	if dir := f.installed(); dir != "" {
		if _, err := f.version(ctx, dir); err == nil {
			return dir, nil
		}
	}
	return "", errors.Join(ErrNoBinaries, ctx.Err())
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// version returns the major version of the programs in a directory. It runs
// one of them, as only this shows that the server's user can, and that the
// libraries are there.
func (f *finder) version(ctx context.Context, dir string) (int, error) {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.Mode()&0o111 == 0 {
			return 0, fmt.Errorf("it has no program %s: name the directory that holds initdb and postgres", program)
		}
	}
	out, err := f.owner.Command(ctx, filepath.Join(dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		as := ""
		if f.owner.name != "" {
			as = fmt.Sprintf(" as user %s, which replaces root", f.owner.name)
		}
		if text := strings.TrimSpace(string(out)); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return 0, fmt.Errorf("its postgres does not run%s: %w", as, err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("its postgres says %q instead of a version", out)
	}
	version, err := strconv.Atoi(string(match[1]))
	if err != nil || version < oldestUsed {
		return 0, fmt.Errorf("it has PostgreSQL %s: version %d or later is needed", match[1], oldestUsed)
	}
	return version, nil
}

// configuredDir asks pg_config. On Debian it may name a directory that has
// only the client's programs.
func configuredDir(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// pathDir looks into PATH. It follows links, because postgres finds its other
// files from where it really is.
func pathDir() string {
	program, err := exec.LookPath("postgres")
	if err != nil {
		return ""
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return ""
	}
	if program, err = filepath.Abs(program); err != nil {
		return ""
	}
	return filepath.Dir(program)
}
