package pgbouncer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Options configures Start.
type Options struct {
	// Server is the URL of the server behind the pooler, with a user and the password that it needs, if any. Which database
	// it names does not matter: the pooler has all of them, under their names. Every other user that the server knows may
	// come as well, and needs no password from the pooler on.
	Server string

	// PoolSize is how many connections to the server each pair of user and database shares. 0 means 20.
	PoolSize int

	// Settings are further settings of PgBouncer, such as {"pool_mode": "session"}; the mode is transaction otherwise. A
	// setting that this version does not know keeps it from starting: max_prepared_statements needs 1.21.
	Settings map[string]string
}

const (
	port            = "6432" // only names the socket
	defaultPoolSize = 20
)

// configure writes down what Options say.
func (p *Pooler) configure(opts Options) error {
	server, err := pgx.ParseConfig(opts.Server)
	if err != nil {
		return fmt.Errorf("the server's URL: %w", err)
	}
	p.user = server.User
	settings := map[string]string{
		"unix_socket_dir":   p.run,
		"listen_port":       port,
		"auth_type":         "trust",
		"auth_file":         p.run + "/users",
		"auth_user":         server.User, // looks up who else may come
		"admin_users":       server.User,
		"pool_mode":         "transaction",
		"default_pool_size": strconv.Itoa(defaultPoolSize),
		"max_client_conn":   "2000",
		"listen_backlog":    "2000", // a socket refuses further clients that come at the same moment
	}
	if opts.PoolSize > 0 {
		settings["default_pool_size"] = strconv.Itoa(opts.PoolSize)
	}
	maps.Copy(settings, opts.Settings)

	var ini strings.Builder
	fmt.Fprintf(&ini, "[databases]\n* = host=%s port=%d\n[pgbouncer]\n", quoteValue(server.Host), server.Port)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&ini, "%s = %s\n", name, settings[name])
	}
	p.files = map[string]string{
		"pgbouncer.ini": ini.String(),
		"users":         quoteUser(server.User) + " " + quoteUser(server.Password) + "\n",
	}
	return nil
}

// quoteValue quotes a value in the address of a database.
func quoteValue(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// quoteUser quotes a name or a password in the file of the users.
func quoteUser(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }
