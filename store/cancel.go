package store

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

const (
	// cancelPatience bounds how long an operation whose context has ended waits for the server to end its statement. In one
	// zone that takes a few milliseconds. It is longest where nothing answers at all.
	cancelPatience = 250 * time.Millisecond
	// cancelInterval is when to ask again: a request that comes before the statement that it is to end has no effect.
	cancelInterval = 20 * time.Millisecond
	// poolerPatience is how long a request to a pooler is left open when nobody waits for it any more: PgBouncer 1.18 ends
	// when one is given up (https://github.com/pgbouncer/pgbouncer/issues/801), and cuts all its clients.
	poolerPatience = 10 * time.Second
)

// canceller is what a connection does when the context of its statement ends: it asks the server to end the statement, and
// stays usable when that answers in time. pgx would give up the connection at once, and a service under load that cancels
// many requests would spend itself on making new ones. As the server answers, it is also known what became of a write.
//
// pgx has such a handler too. It keeps the caller for another 100 ms, lest the request reach the next statement. This one
// waits for the acknowledgement instead: PostgreSQL closes the connection of the request after it has sent the signal, and
// the session then takes the signal before it reads its next statement, where it has no effect.
type canceller struct {
	conn     *pgconn.PgConn
	patience time.Duration // with a request that has been sent, beyond the deadline
	deadline time.Time
	answered chan struct{} // closed when the statement has ended
	done     chan error    // of the requests; nil when the server has acknowledged each
}

// newCanceller returns what makes the cancellers of connections, through a pooler or not.
func newCanceller(pooler bool) func(*pgconn.PgConn) ctxwatch.Handler {
	var patience time.Duration
	if pooler {
		patience = poolerPatience
	}
	return func(conn *pgconn.PgConn) ctxwatch.Handler { return &canceller{conn: conn, patience: patience} }
}

// HandleCancel implements [ctxwatch.Handler].
func (c *canceller) HandleCancel(context.Context) {
	c.deadline = time.Now().Add(cancelPatience)
	_ = c.conn.Conn().SetDeadline(c.deadline) // a connection that is gone is for the statement to find out
	c.answered, c.done = make(chan struct{}), make(chan error, 1)
	go func() { c.done <- c.request() }() //nolint:contextcheck // that one has ended
}

// request asks the server to end the statement until that has happened.
func (c *canceller) request() error {
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline.Add(c.patience))
	defer cancel()
	for {
		// CancelRequest does not tell how its wait for the acknowledgement has ended.
		if err := cmp.Or(c.conn.CancelRequest(ctx), ctx.Err()); err != nil {
			return err
		}
		select {
		case <-c.answered:
			return nil
		case <-time.After(min(cancelInterval, time.Until(c.deadline))):
		}
		if !time.Now().Before(c.deadline) {
			return context.DeadlineExceeded
		}
	}
}

// HandleUnwatchAfterCancel implements [ctxwatch.Handler].
func (c *canceller) HandleUnwatchAfterCancel() {
	close(c.answered)
	var err error
	select {
	case err = <-c.done:
	case <-time.After(time.Until(c.deadline)):
		err = context.DeadlineExceeded
	}
	if err != nil {
		// A request may still be on its way. With this context Close does not touch the watcher, which is locked.
		_ = c.conn.Close(context.Background())
		return
	}
	_ = c.conn.Conn().SetDeadline(time.Time{})
}
