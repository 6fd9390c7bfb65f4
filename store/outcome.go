package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errReadOnlyTx tells a write in a transaction that was to have none from one on a server that takes none at the moment.
var errReadOnlyTx = errors.New("the transaction is read-only")

const (
	queryCanceled          = "57014"
	readOnlySQLTransaction = "25006"
)

// outcome is the last word about a statement outside of a transaction, or about a commit, that was given to conn, which was
// open, and ended with err. Unless it is repeatable, it is ErrOutcomeUnknown when the server may have done it and the answer
// is lost.
func (m *Manager) outcome(ctx context.Context, conn *pgx.Conn, repeatable bool, err error) error {
	if err == nil && ctx.Err() == nil {
		return nil
	}
	unknown := conn.IsClosed() && !isUndone(err)
	if err == nil {
		// It was done, but the request to cancel it may have ended its wait for a synchronous standby, which a success
		// stands for. The server says so in a notice at best.
		err, unknown = ctx.Err(), true
	}
	m.learn(conn, err)
	err = endedBy(ctx, err)
	if unknown && !repeatable {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// isUndone reports whether a statement that ended with err has had no effect for certain, although its connection is gone.
func isUndone(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "25P03", "57P05": // the server ends idle sessions before it reads what they send next
			return true
		}
		// With an ERROR the server takes back what it did. FATAL can follow a commit whose answer was not yet sent.
		return cmp.Or(pgErr.SeverityUnlocalized, pgErr.Severity) == "ERROR"
	}
	// Nothing was sent. For the loss of a connection after a statement of the simple protocol, such as a commit, pgx gives an
	// error that claims so too: ErrConnClosed, which is true only of a connection that was closed before.
	return pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
}

// failed is what a statement of the transaction returns that ended with err. Nothing of it stays, whatever happened.
func (t *transaction) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if t.readOnly && hasCode(err, readOnlySQLTransaction) {
		return fmt.Errorf("%w: %w", errReadOnlyTx, err)
	}
	t.manager.learn(t.tx.Conn(), err)
	return endedBy(ctx, err)
}

// endedBy names the end of ctx as the cause of what the server calls a cancelled query.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil && hasCode(err, queryCanceled) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

func hasCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}
