// Package pgbouncer runs a private PgBouncer, a connection pooler, in front of a PostgreSQL server: for tests of what goes
// through one.
//
//	pooler, err := pgbouncer.Start(ctx, pgbouncer.Options{Server: server.URL("postgres"), PoolSize: 5})
//	if errors.Is(err, pgbouncer.ErrNotInstalled) {
//		t.Skip(err)
//	}
//	defer pooler.Stop(context.Background())
//	pool, err := store.Open(ctx, store.Config{URL: pooler.URL("postgres") + "&pgbouncer=true", DirectURL: server.URL("postgres")})
//
// It listens on a socket in a directory that only its user can enter, and ends with this process, however that one ends.
package pgbouncer

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
)

// ErrNotInstalled says that there is no program pgbouncer.
var ErrNotInstalled = errors.New("PgBouncer is not installed: run \"make test-deps\", or install the package pgbouncer of the system")

const pollInterval = 10 * time.Millisecond

// Pooler is a running PgBouncer.
type Pooler struct {
	bin   string
	owner postgres.Owner
	run   string // its directory, with the socket
	user  string
	files map[string]string // what is in the directory at the start

	life       *os.File // the writing end of the pipe; it lives while this is open
	log        *os.File
	supervisor *exec.Cmd
	ended      chan struct{} // closed when the supervisor has been reaped, made by Stop
}

// Start starts a PgBouncer for this process alone. It returns when it accepts connections; whether the server behind it
// does, it does not ask. ctx limits only this wait. Stop ends it, and so does the end of this process, however it comes.
// The error is [ErrNotInstalled] where there is no such program.
func Start(ctx context.Context, opts Options) (*Pooler, error) {
	p, err := newPooler(opts)
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("pgbouncer: start: %w", err)
	}
	return p, nil
}

func newPooler(opts Options) (*Pooler, error) {
	bin, err := find(programs...)
	if err != nil {
		return nil, err
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		return nil, err
	}
	// Not in os.TempDir: the path of a socket may have 103 bytes at most, and the owner may not be able to enter that.
	p := &Pooler{bin: bin, owner: owner, run: "/tmp/sharedcontext-pgbouncer-" + rand.Text()}
	return p, p.configure(opts)
}

// Version returns the two numbers of the program's version, such as 1 and 18. From 1.21 on PgBouncer knows
// max_prepared_statements.
func Version(ctx context.Context) (major, minor int, err error) {
	bin, err := find(programs...)
	if err != nil {
		return 0, 0, err
	}
	text, err := exec.CommandContext(ctx, bin, "--version").Output() //nolint:gosec // one of programs
	if err != nil {
		return 0, 0, fmt.Errorf("pgbouncer: version: %w", err)
	}
	if _, err := fmt.Sscanf(string(text), "PgBouncer %d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("pgbouncer: version %q: %w", text, err)
	}
	return major, minor, nil
}

// programs are the places to look for PgBouncer. Debian's is not on every PATH.
var programs = []string{"pgbouncer", "/usr/sbin/pgbouncer"}

// find returns the path of the first of these programs that is there.
func find(names ...string) (string, error) {
	for _, name := range names {
		if bin, err := exec.LookPath(name); err == nil {
			return filepath.Abs(bin)
		}
	}
	return "", ErrNotInstalled
}

// URL returns the address of a database behind the pooler, for pgx, libpq and everything built on them. It does not say
// that it is one of a pooler. The database "pgbouncer" is PgBouncer's own console, which knows the simple protocol only.
func (p *Pooler) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(p.user),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {p.run}, "port": {port}}.Encode(),
	}
	return u.String()
}

// Restart cuts all connections and starts the pooler again, under the same address.
func (p *Pooler) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("pgbouncer: restart: %w", err)
	}
	return nil
}

// Stop cuts all connections and ends the pooler. Nothing is left of it when Stop returns nil. Further calls wait for the
// same end.
func (p *Pooler) Stop(ctx context.Context) error {
	if p.ended == nil {
		_ = p.life.Close()
		_ = p.log.Close()
		p.ended = make(chan struct{})
		go func() {
			_ = p.supervisor.Wait() // its exit status says nothing
			close(p.ended)
		}()
	}
	select {
	case <-p.ended:
		return os.RemoveAll(p.run) // where the supervisor was killed
	case <-ctx.Done():
		return fmt.Errorf("pgbouncer: stop: %w", context.Cause(ctx))
	}
}

//go:embed supervisor.sh
var supervisorScript string

// start makes the directory and starts the supervisor, which starts the pooler.
func (p *Pooler) start(ctx context.Context) (err error) {
	if err := os.Mkdir(p.run, 0o700); err != nil {
		return err
	}
	started := false
	defer func() {
		if !started {
			err = errors.Join(err, os.RemoveAll(p.run))
		}
	}()
	if err := p.owner.Own(p.run); err != nil {
		return err
	}
	for name, text := range p.files {
		file := filepath.Join(p.run, name)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), p.owner.Own(file)); err != nil {
			return err
		}
	}
	logIn, err := os.Create(filepath.Join(p.run, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = logIn.Close() }()
	log, err := os.Open(logIn.Name())
	if err != nil {
		return err
	}
	reader, life, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}

	// The pipe alone decides when it ends.
	cmd := p.owner.Command(context.WithoutCancel(ctx), "/bin/sh", "-c", supervisorScript, "sharedcontext-pgbouncer", p.bin, p.run)
	cmd.Stdout, cmd.Stderr = logIn, logIn
	cmd.ExtraFiles = []*os.File{reader}
	cmd.SysProcAttr.Setsid = true // an interrupt from the terminal is for this process
	err = cmd.Start()
	_ = reader.Close() // else await would take this process for the supervisor
	if err != nil {
		return errors.Join(err, log.Close(), life.Close())
	}
	started = true
	p.life, p.log, p.supervisor, p.ended = life, log, cmd, nil
	if err := p.await(ctx); err != nil {
		text, _ := io.ReadAll(p.log)
		err = fmt.Errorf("%w; its log:\n%s", err, strings.TrimSpace(string(text)))
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(err, p.Stop(stopping))
	}
	return nil
}

// await returns when the console answers.
func (p *Pooler) await(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		_, err := p.Console(ctx, "SHOW VERSION")
		if _, gone := p.life.WriteString("\n"); gone != nil {
			return errors.New("it ended")
		}
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w (last attempt: %w)", context.Cause(ctx), err)
		}
	}
}

// Console runs a command of PgBouncer's console, such as "SHOW POOLS", and returns the rows by the names of their columns.
func (p *Pooler) Console(ctx context.Context, command string) (rows []map[string]string, err error) {
	conn, err := pgconn.Connect(ctx, p.URL("pgbouncer"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	results, err := conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("pgbouncer: %s: %w", command, err)
	}
	for _, result := range results {
		for _, values := range result.Rows {
			row := make(map[string]string, len(values))
			for i, value := range values {
				row[result.FieldDescriptions[i].Name] = string(value)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}
