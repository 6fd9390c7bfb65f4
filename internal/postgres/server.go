// Package postgres runs a private PostgreSQL server: for the commands dev and
// demo, and for tests.
//
// The server needs no set-up. It uses installed binaries or downloads them,
// listens on a Unix socket in a directory that only its user can enter, and
// ends with the processes that use it, even when they are killed:
//
//	server, err := postgres.Start(ctx, postgres.Options{})
//	if err != nil {
//		return err
//	}
//	defer server.Stop(context.Background())
//	conn, err := pgx.Connect(ctx, server.URL("postgres"))
//
// Test binaries call Shared instead: all that one user runs at a time get the
// same server, and each creates its own databases in it.
//
// Linux and macOS. The package needs FIFOs, flock and /bin/sh; it does not
// compile for Windows.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// Options configures Start.
type Options struct {
	// Dir is where the data lives and stays. It is created if it is missing.
	// Empty means a temporary directory, removed with the server.
	Dir string

	// Settings are further server parameters, such as {"work_mem": "64MB"}.
	// Those that keep the server private cannot be given.
	Settings map[string]string

	// Durable makes commits survive a crash of the machine, at the price of
	// waiting for the disk. Tests and demonstrations do without.
	Durable bool
}

// Server is one user's hold on a running server.
type Server struct {
	run        string    // the run directory; it holds the socket
	users      int       // the writing end of the FIFO; the server lives while somebody has one
	log        *os.File  // read when the server does not start, perhaps after its removal
	supervisor *exec.Cmd // nil for a shared server: it may outlive this process
	leave      sync.Once
	ended      chan struct{} // closed when the supervisor has been reaped
}

const (
	port = "5432" // only names the socket; in the URL because PGPORT would change it

	pollInterval = 10 * time.Millisecond
)

// fixedSettings make the server private and are not to be changed.
func fixedSettings(run string) map[string]string {
	return map[string]string{
		"listen_addresses":        "",
		"port":                    port,
		"unix_socket_directories": run,
		"unix_socket_permissions": "0700",
		"logging_collector":       "off", // the log belongs into the run directory, and into errors
	}
}

// settings returns the server's command-line arguments.
func (o Options) settings(run string) ([]string, error) {
	settings := map[string]string{
		"max_connections": "400", // several test binaries, each with pools of its own
		"shared_buffers":  "128MB",
		"timezone":        "UTC",
		"log_timezone":    "UTC",
	}
	if !o.Durable {
		maps.Copy(settings, map[string]string{
			"fsync":              "off",
			"full_page_writes":   "off",
			"synchronous_commit": "off",
			"wal_level":          "minimal",
			"max_wal_size":       "256MB",
			"max_wal_senders":    "0",
		})
	}
	fixed := fixedSettings(run)
	for name, value := range o.Settings {
		name = strings.ReplaceAll(strings.ToLower(name), "-", "_") // one name, as the server sees it
		if _, ok := fixed[name]; ok {
			return nil, fmt.Errorf("setting %s is fixed, as it keeps the server private: leave it out", name)
		}
		settings[name] = value
	}
	maps.Copy(settings, fixed)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args, nil
}

// Start starts a server for this process alone. It returns when the server
// accepts connections; ctx limits only this wait, not the server's life. Stop
// ends the server, and so does the end of this process, however it comes.
func Start(ctx context.Context, opts Options) (*Server, error) {
	h, err := newHost()
	if err != nil {
		return nil, fmt.Errorf("postgres: start: %w", err)
	}
	s, err := h.start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("postgres: start: %w", err)
	}
	return s, nil
}

func (h *host) start(ctx context.Context, opts Options) (*Server, error) {
	bin, err := h.binaries(ctx)
	if err != nil {
		return nil, err
	}
	var dir *os.File
	if opts.Dir != "" {
		if dir, err = h.openDir(ctx, opts.Dir); err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }()
	}
	var r *newRun
	if err := h.locked(ctx, func() (err error) {
		if err = h.sweep(ctx); err == nil {
			r, err = h.create(private)
		}
		return err
	}); err != nil {
		return nil, err
	}
	s, err := h.supervise(ctx, r, bin, dir, opts)
	if err != nil {
		return nil, err
	}
	return s, s.awaitOrStop(ctx)
}

// URL returns the address of a database in this server, for pgx, libpq and
// everything built on them. The user is the superuser postgres.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {s.run}, "port": {port}}.Encode(),
	}
	return u.String()
}

// Stop gives up the server. One from Start is stopped, and its directories are
// gone when Stop returns nil. One from Shared is only left: it ends shortly
// after its last user. Further calls wait for the same end.
func (s *Server) Stop(ctx context.Context) error {
	s.leave.Do(func() {
		_ = unix.Close(s.users)
		_ = s.log.Close()
		if s.supervisor == nil {
			return
		}
		go func() {
			// Its exit status is the server's, for which a stop is no success.
			_ = s.supervisor.Wait()
			close(s.ended)
		}()
	})
	if s.supervisor == nil {
		return nil
	}
	// A supervisor that was killed, or lost its watch, leaves the server behind:
	// without a reader on the FIFO the orphan is stopped here. While the regular
	// stop is under way this finds nothing, or the same server already stopping.
	if !live(s.run) {
		if err := discard(ctx, s.run); err != nil {
			return fmt.Errorf("postgres: stop: %w", err)
		}
	}
	select {
	case <-s.ended:
	case <-ctx.Done():
		return fmt.Errorf("postgres: stop: the server in %s is still shutting down: %w", s.run, context.Cause(ctx))
	}
	if err := discard(ctx, s.run); err != nil {
		return fmt.Errorf("postgres: stop: %w", err)
	}
	return nil
}

var errGone = errors.New("the server ended")

// alive tells whether somebody still reads the FIFO. It writes a line: POSIX
// promises EPIPE without a reader, and the supervisor takes the line for a
// sign that it is in use.
func (s *Server) alive() bool {
	_, err := unix.Write(s.users, []byte("\n"))
	return err == nil || err == unix.EAGAIN || err == unix.EINTR
}

// awaitOrStop waits until the server answers and stops it when it does not.
func (s *Server) awaitOrStop(ctx context.Context) error {
	err := s.await(ctx)
	if err == nil {
		return nil
	}
	if text := tail(s.log); text != "" {
		err = fmt.Errorf("%w; the end of the server's log:\n%s", err, text)
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, s.Stop(stopCtx))
}

// await returns nil when the server answers, and errGone when it ended.
func (s *Server) await(ctx context.Context) error {
	config, err := pgx.ParseConfig(s.URL("postgres"))
	if err != nil {
		return err
	}
	config.ConnectTimeout = 5 * time.Second
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := ping(ctx, config)
		if !s.alive() {
			return errGone // even if it answered: those were its last words
		}
		if err == nil {
			return nil
		}
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
			switch refused.Code {
			case "57P03": // cannot_connect_now: it is starting
			case "53300": // too_many_connections: it has started
				return nil
			default:
				return fmt.Errorf("the server runs but refuses its superuser: %w", err)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w (last attempt: %w)", context.Cause(ctx), err)
		}
	}
}

func ping(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// tail returns the last lines of a log.
func tail(log *os.File) string {
	const lines, size = 15, 4096
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(log, max(0, info.Size()-size), size))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
