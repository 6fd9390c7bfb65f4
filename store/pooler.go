package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errTransactionPooler is why what needs a session is not begun.
var errTransactionPooler = errors.New("a pooler in transaction mode, where no lock and no LISTEN outlives its transaction")

// transactionPoolerHint is the way out.
const transactionPoolerHint = "set DIRECT_DATABASE_URL to the address of the server itself, or of a pooler in session mode"

// transactionPoolerError is errTransactionPooler with the variable that leads there.
func (c Config) transactionPoolerError() error {
	variable, _ := c.directURL()
	return fmt.Errorf("%s leads to %w", variable, errTransactionPooler)
}

const (
	// poolerProbes is how often two connections are compared. Where nobody else uses the pooler, or it takes its server
	// connections in turn, the second time proves it at the latest.
	poolerProbes = 10
	// poolerProbeTimeout bounds the wait for a second connection: a pooler may have none to give.
	poolerProbeTimeout = 10 * time.Second
)

// behindTransactionPooler reports whether a pooler in transaction mode is between conn and its server, whatever the
// configuration says. Through one, advisory locks and LISTEN seem to work and do not.
//
// It costs one round trip where the process that the server named when it connected is the one that answers. A pooler
// makes up a process of its own. Then a second connection shows the mode: in session mode each of two connections that are
// open at once keeps a process to itself. Transaction mode is proved when both are served by the same one, or one by
// different ones. It neither changes nor locks anything.
//
// conn must be idle, and outside of a transaction. A pooler that passes on the process of its server is not recognised.
func behindTransactionPooler(ctx context.Context, conn *pgx.Conn) (bool, error) {
	own, err := backendPID(ctx, conn.PgConn())
	if err != nil || own == conn.PgConn().PID() {
		return false, err
	}
	bounded, cancel := context.WithTimeout(ctx, poolerProbeTimeout)
	defer cancel()
	other, err := pgconn.ConnectConfig(bounded, &conn.Config().Config)
	if err != nil {
		return false, fmt.Errorf("a second connection, to find out how the pooler in between works: %w", err)
	}
	defer func() { _ = other.Close(context.WithoutCancel(bounded)) }() // nothing hangs on it
	for range poolerProbes {
		others, err := backendPID(bounded, other)
		if err != nil {
			return false, fmt.Errorf("a second connection, to find out how the pooler in between works: %w", err)
		}
		if others == own {
			return true, nil
		}
		for range 2 { // by turns, each of two connections could meet the same process every other time
			now, err := backendPID(ctx, conn.PgConn())
			if err != nil || now != own {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// backendPID returns the server's process that answers. Nothing is prepared, which could be left behind in a pooler.
func backendPID(ctx context.Context, conn *pgconn.PgConn) (uint32, error) {
	results, err := conn.Exec(ctx, "SELECT pg_backend_pid()").ReadAll()
	if err != nil {
		return 0, err
	}
	pid, err := strconv.ParseUint(string(results[0].Rows[0][0]), 10, 32)
	return uint32(pid), err
}

// poolerMessage is something that PgBouncer says, which gives all of it one SQLSTATE.
type poolerMessage struct {
	text   string // is in it
	hint   string
	passes bool // whether it may be over at the next attempt
	notRun bool // whether it is about a statement that no server has seen
}

var poolerMessages = []poolerMessage{
	{text: "unsupported startup parameter", hint: "DATABASE_URL leads to a pooler that refuses this parameter: add pgbouncer=true to it, which " +
		"leaves statement_timeout out, and set what else it names with ALTER ROLE … SET instead"},
	{text: "query_wait_timeout", passes: true, notRun: true, hint: "the pooler had no connection to the server free in time and the statement " +
		"was not run: check that it reaches the server, use fewer at once, or raise its default_pool_size"},
	{text: "server_login_retry", passes: true, notRun: true, hint: "the pooler cannot reach the server and the statement was not run; it tries " +
		"again every server_login_retry seconds"},
	{text: "no such user", hint: "check user and password of DATABASE_URL, and auth_file or auth_query of the pooler"},
	{text: "does not exist", hint: "create the database or correct its name in DATABASE_URL"},
	{text: "max_client_conn", passes: true, hint: "lower DATABASE_MAX_CONNECTIONS of the services or raise max_client_conn of the pooler"},
	{text: "statement pooling mode", hint: "set pool_mode of the pooler to transaction"},
}

// saidByPooler returns what is known about an error, if PgBouncer has made it.
func saidByPooler(pgErr *pgconn.PgError) (said poolerMessage, known bool) {
	if pgErr.Code != "08P01" { // protocol_violation
		return poolerMessage{}, false
	}
	text := strings.ToLower(pgErr.Message)
	for _, message := range poolerMessages {
		if strings.Contains(text, message.text) {
			return message, true
		}
	}
	return poolerMessage{}, false
}
