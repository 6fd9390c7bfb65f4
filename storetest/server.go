package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// startTimeout leaves time to download PostgreSQL where none is installed.
	startTimeout = 5 * time.Minute
	// templateLock is held by the process that makes the template ("shctxtpl" in ASCII).
	templateLock = 0x73686374_7874706c
	// duplicateDatabase and undefinedDatabase are what SQLSTATE calls a name that is taken and one that is not there.
	duplicateDatabase = "42P04"
	undefinedDatabase = "3D000"
)

// server is this process's place on the server where databases are made.
type server struct {
	url func(database string) string

	// maintenance is the address of the database from which others are made, and scope a short name for it. Advisory
	// locks belong to one database, so that what they protect must be told apart by it.
	maintenance, scope string

	// tag is in the name of each database of this process. The connection holds the advisory lock of the tag for as long
	// as the process lives, which tells its databases from those that a killed process has left.
	tag string

	mu      sync.Mutex // guards what is below
	conn    *pgx.Conn
	created int
	// template is the migrated database that others are copied from, empty until the first is asked for.
	template string
}

// connected returns the server of this process, started or joined at the first call.
var connected = sync.OnceValues(func() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s := new(server)
	maintenance, source := os.Getenv("STORETEST_DATABASE_URL"), "the server that STORETEST_DATABASE_URL names"
	if maintenance == "" {
		source = "the private server"
		shared, err := postgres.Shared(ctx)
		if err != nil {
			return nil, err
		}
		s.url = shared.URL
		maintenance = shared.URL("postgres")
	} else {
		parsed, err := url.Parse(maintenance)
		if err != nil || parsed.Host == "" && !parsed.Query().Has("host") {
			return nil, errors.New("STORETEST_DATABASE_URL is not a URL: postgres://user:password@host:port/database is one")
		}
		s.url = func(database string) string {
			other := *parsed
			other.Path = "/" + database
			return other.String()
		}
	}

	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	s.tag = hex.EncodeToString(random[:])
	s.maintenance = maintenance
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return s, s.dropAbandoned(ctx)
})

// connect makes the connection, and claims the tag with it. Later calls do so again where the connection was lost.
func (s *server) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	conn, err := pgx.Connect(ctx, s.maintenance)
	if err != nil {
		return err
	}
	s.conn = conn
	var database string
	if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return err
	}
	scope := sha256.Sum256([]byte(database))
	s.scope = hex.EncodeToString(scope[:4])
	_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1)", tagLock(s.tag))
	return err
}

// tagLock returns the advisory lock of a tag.
func tagLock(tag string) int64 {
	sum := sha256.Sum256([]byte("storetest " + tag))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// dropAbandoned drops the databases of processes that did not live to drop them.
func (s *server) dropAbandoned(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, `SELECT datname, split_part(datname, '_', 3) FROM pg_database
		WHERE datname ~ ('^storetest_' || $1 || '_[0-9a-f]{8}_[0-9]+$')`, s.scope)
	if err != nil {
		return err
	}
	var name, tag string
	abandoned := make(map[string][]string)
	_, err = pgx.ForEachRow(rows, []any{&name, &tag}, func() error {
		abandoned[tag] = append(abandoned[tag], name)
		return nil
	})
	if err != nil {
		return err
	}
	for tag, names := range abandoned {
		if tag == s.tag {
			continue
		}
		var ours bool
		if err := s.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", tagLock(tag)).Scan(&ours); err != nil {
			return err
		}
		if !ours { // its process lives
			continue
		}
		for _, name := range names {
			if err := s.dropDatabase(ctx, name); err != nil {
				return err
			}
		}
		if _, err := s.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", tagLock(tag)); err != nil {
			return err
		}
	}
	return nil
}

// createEmpty makes a database without the schema and returns its name.
func (s *server) createEmpty(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return "", err
	}
	return s.create(ctx, "template0")
}

// createMigrated makes a database as a copy of the migrated template and returns its name.
func (s *server) createMigrated(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return "", err
	}
	if s.template == "" {
		if err := s.makeTemplate(ctx); err != nil {
			return "", fmt.Errorf("make the template: %w", err)
		}
	}
	return s.create(ctx, s.template)
}

// create is called with mu held.
func (s *server) create(ctx context.Context, template string) (string, error) {
	s.created++
	name := fmt.Sprintf("storetest_%s_%s_%d", s.scope, s.tag, s.created)
	_, err := s.conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template))
	return name, err
}

func (s *server) drop(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return err
	}
	return s.dropDatabase(ctx, name)
}

// dropDatabase drops a database, and the roles that were made for it.
func (s *server) dropDatabase(ctx context.Context, name string) error {
	_, err := s.conn.Exec(ctx, "DROP DATABASE "+quote(name)+" WITH (FORCE)")
	if err != nil && !hasCode(err, undefinedDatabase) { // another process cleaned up as well
		return err
	}
	roles := rolesOf(name)
	_, err = s.conn.Exec(ctx, "DROP ROLE IF EXISTS "+quote(roles.Service)+", "+quote(roles.Reader))
	return err
}

// makeTemplate migrates a database under this process's tag and renames it when it is complete, so that a template is
// whole or not there. Its name says which migrations it has. It is called with mu held.
func (s *server) makeTemplate(ctx context.Context) error {
	digest, err := schemaDigest()
	if err != nil {
		return err
	}
	template := "storetest_template_" + digest
	if _, err := s.conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(templateLock)); err != nil {
		return err
	}
	defer func() {
		_, _ = s.conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(templateLock))
	}()

	var exists bool
	err = s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", template).Scan(&exists)
	if err != nil {
		return err
	}
	if !exists {
		name, err := s.create(ctx, "template0")
		if err != nil {
			return err
		}
		if err := migrate(ctx, s.url(name)); err != nil {
			return errors.Join(err, s.dropDatabase(context.WithoutCancel(ctx), name))
		}
		_, err = s.conn.Exec(ctx, "ALTER DATABASE "+quote(name)+" RENAME TO "+quote(template))
		if hasCode(err, duplicateDatabase) { // a process with another maintenance database was faster
			err = s.dropDatabase(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	s.template = template
	return nil
}

func migrate(ctx context.Context, url string) error {
	migrator, err := store.OpenMigrator(ctx, store.Config{URL: url})
	if err != nil {
		return err
	}
	return errors.Join(migrator.Up(ctx), migrator.Close())
}

// schemaDigest returns a short text that differs between any two sets of migrations.
func schemaDigest() (string, error) {
	names, err := fs.Glob(schema.FS, "*.up.sql")
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	for _, name := range names {
		text, err := fs.ReadFile(schema.FS, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%s\n%d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(digest.Sum(nil)[:6]), nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func hasCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}
