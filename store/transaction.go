package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rollbackTimeout bounds a roll-back, which must still work when the context of the transaction is cancelled.
const rollbackTimeout = 5 * time.Second

// TxOptions configures [Manager.InTxOptions]. Its zero value is what [Manager.InTx] uses.
type TxOptions struct {
	// Isolation is the isolation level; empty means the server's default, read committed.
	Isolation pgx.TxIsoLevel
	// ReadOnly refuses writes. [IsRetryable] then takes the transaction for a read.
	ReadOnly bool
	// Retries says how often the whole function may run again after a serialization failure or a deadlock. Such a
	// function must have no effect outside of the transaction. 0 means never.
	Retries int
}

// transaction is a running transaction or savepoint. It travels in the context.
type transaction struct {
	manager *Manager
	tx      pgx.Tx
	outer   *transaction // what the context carried before, perhaps of another manager
	reader  *readerScope // as whom it reads, see AsReader; nil for a transaction of the service

	readOnly bool

	// use is held by whoever is using the connection: one call, or a nested transaction from its start to its end.
	use      sync.Mutex
	finished bool
	rows     pgx.Rows // the latest that a Conn has returned

	// written are the topics that followers are told of when the outermost transaction has committed.
	written struct {
		sync.Mutex
		topics []uint64
	}
}

// announce notes topics that the transaction has written to.
func (t *transaction) announce(topics ...uint64) {
	t.written.Lock()
	defer t.written.Unlock()
	for _, topic := range topics {
		if !slices.Contains(t.written.topics, topic) {
			t.written.topics = append(t.written.topics, topic)
		}
	}
}

// enter claims the transaction for one statement, which it refuses while rows of another are open: what the driver makes of
// that depends on how statements are sent.
func (t *transaction) enter() error {
	if err := t.step(); err != nil {
		return err
	}
	if t.rows != nil && t.tx.Conn().PgConn().IsBusy() {
		t.use.Unlock()
		return fmt.Errorf("%w: rows of a query are still open", ErrTxBusy)
	}
	return nil
}

// step claims the transaction for reading a row.
func (t *transaction) step() error {
	if !t.use.TryLock() {
		return ErrTxBusy
	}
	if t.finished {
		t.use.Unlock()
		return ErrTxFinished
	}
	return nil
}

func (t *transaction) leave() { t.use.Unlock() }

// errOpenRows refuses to commit while the result of a query may still hold an error that nobody has seen.
var errOpenRows = errors.New("rows of a query are still open: close them before the function returns")

// finish claims the transaction for good. The error says that somebody was still using it.
func (t *transaction) finish() error {
	var err error
	if !t.use.TryLock() {
		err = ErrTxBusy
		t.use.Lock()
	}
	defer t.use.Unlock()
	t.finished = true
	if t.rows != nil && t.tx.Conn().PgConn().IsBusy() {
		t.rows.Close()
		err = cmp.Or(err, operationError("query", t.rows.Err()), errOpenRows)
	}
	return err
}

// transaction returns this manager's innermost transaction in ctx, nil when there is none.
func (m *Manager) transaction(ctx context.Context) *transaction {
	t, _ := ctx.Value(transactionKey).(*transaction)
	for t != nil && t.manager != m {
		t = t.outer
	}
	return t
}

// WithoutTx returns a context with the values of ctx but outside of its transaction: what it is used for takes
// connections of its own. A goroutine that is started inside of a transaction needs this, as a transaction belongs to
// one goroutine at a time.
func WithoutTx(ctx context.Context) context.Context {
	return context.WithValue(ctx, transactionKey, (*transaction)(nil))
}

// InTx runs fn in a transaction: every operation called with the context that fn receives belongs to it. It commits when
// fn returns nil. It rolls back when fn returns an error, which InTx returns as it is, when fn panics, and when ctx has
// ended. Called with a context that is in a transaction already, it makes a savepoint and rolls back to that.
//
// Operations that use the context after fn has returned fail with [ErrTxFinished]; two goroutines that use it at once,
// or the outer context used while a nested transaction runs, get [ErrTxBusy]. The transaction is rolled back then if
// InTx itself meets the misuse.
func (m *Manager) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	return m.InTxOptions(ctx, TxOptions{}, fn)
}

// InTxOptions is [Manager.InTx] with options. A nested transaction can have none of them: they belong to the outermost.
func (m *Manager) InTxOptions(ctx context.Context, options TxOptions, fn func(ctx context.Context) error) error {
	return m.inTx(ctx, options, options.ReadOnly, fn)
}

// inTx is InTxOptions. A repeatable transaction may run again after its commit, without harm.
func (m *Manager) inTx(ctx context.Context, options TxOptions, repeatable bool, fn func(ctx context.Context) error) error {
	const operation = "transaction"
	if outer := m.transaction(ctx); outer != nil {
		if options != (TxOptions{}) {
			return operationError(operation, errors.New("options belong to the outermost transaction, not to a nested one"))
		}
		if err := outer.enter(); err != nil {
			return operationError(operation, err)
		}
		defer outer.leave()
		tx, err := outer.tx.Begin(ctx)
		if err != nil {
			return operationError(operation, outer.failed(ctx, err))
		}
		nested := &transaction{tx: tx, reader: outer.reader, readOnly: outer.readOnly}
		return m.runTx(ctx, nested, func() error { return outer.failed(ctx, tx.Commit(ctx)) }, fn)
	}

	for attempt := 0; ; attempt++ {
		err := m.runTopTx(ctx, options, repeatable, fn)
		if attempt >= options.Retries || !isConflict(err) {
			return err
		}
		// Of the transactions that ran into each other, each waits another time.
		delay := time.Duration(rand.Int64N(int64(10*time.Millisecond) << min(attempt, 6)))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return err
		}
	}
}

func (m *Manager) runTopTx(ctx context.Context, options TxOptions, repeatable bool, fn func(ctx context.Context) error) error {
	conn, err := m.acquire(ctx)
	if err != nil {
		return operationError("begin", err)
	}
	defer conn.Release()
	begin := pgx.TxOptions{IsoLevel: options.Isolation}
	if options.ReadOnly {
		begin.AccessMode = pgx.ReadOnly
	}
	tx, err := conn.BeginTx(ctx, begin)
	if err != nil {
		return operationError("begin", m.outcome(ctx, conn.Conn(), true, err))
	}
	commit := func() error {
		if tx.Conn().IsClosed() {
			return pgconn.ErrConnClosed // and the server has rolled back
		}
		return m.outcome(ctx, tx.Conn(), repeatable, tx.Commit(ctx))
	}
	return m.runTx(ctx, &transaction{tx: tx, readOnly: options.ReadOnly}, commit, fn)
}

// runTx runs fn in a transaction that has begun, and ends it.
func (m *Manager) runTx(ctx context.Context, t *transaction, commit func() error, fn func(ctx context.Context) error) (err error) {
	t.manager = m
	t.outer, _ = ctx.Value(transactionKey).(*transaction)
	tx := t.tx

	// This also runs when fn panics or ends its goroutine, without hiding either.
	committed := false
	defer func() {
		if committed {
			return
		}
		if misuse := t.finish(); misuse != nil && err == nil {
			err = operationError("commit", misuse)
		}
		if tx.Conn().IsClosed() { // and the server has rolled back
			return
		}
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		if rollbackErr := tx.Rollback(rollback); rollbackErr != nil && !errors.Is(rollbackErr, pgx.ErrTxClosed) {
			err = errors.Join(err, operationError("rollback", rollbackErr))
		}
	}()

	if err := fn(context.WithValue(NewContext(ctx, m), transactionKey, t)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return operationError("commit", err)
	}
	if err := t.finish(); err != nil {
		return operationError("commit", err)
	}
	if tx.Conn().PgConn().TxStatus() == 'E' { // the server would refuse to release a savepoint, and pgx then gives it up
		return operationError("commit", fmt.Errorf("%w: a statement in it had failed", pgx.ErrTxCommitRollback))
	}
	err = commit()
	if outer := m.transaction(ctx); outer != nil {
		outer.announce(t.written.topics...)
	} else if len(t.written.topics) > 0 { // also when nobody knows whether it has committed
		m.notifier.notify(t.written.topics...)
	}
	if err != nil {
		return operationError("commit", err)
	}
	committed = true
	return nil
}

// isConflict reports whether err is a serialization failure or a deadlock: the transaction did nothing wrong and may
// succeed when it runs again.
func isConflict(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "40001" || pgErr.Code == "40P01")
}
