package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// Manager owns the connections to one database. Its methods are the operations; all of them may be called from any
// number of goroutines at once. Make one per database with [Open], hand it down with [NewContext], and [Manager.Close]
// it at the end.
type Manager struct {
	config *Config // a pointer, as fmt would print the password in a copy
	keys   *keyring
	pool   *pgxpool.Pool
	closed atomic.Bool

	recovery recovery

	notifier *notifier
	feeds    *feeds

	// live are the open connections, so that Close can cut those that do not come back in time.
	live struct {
		sync.Mutex
		conns map[*pgx.Conn]struct{}
	}
}

// queries has no state: every method takes the connection to use.
var queries gen.Queries

// managers are all managers that are open, and the one that was made from the environment.
var managers struct {
	sync.Mutex
	open     map[*Manager]struct{}
	fallback *Manager
}

// closeGrace is what operations may take to end, and idle connections to close, beyond the end of a context.
const closeGrace = time.Second

type contextKey int

const (
	managerKey contextKey = iota
	transactionKey
	loggedQueryKey
	readerKey
)

// Open checks the configuration and returns a manager. It does not wait for the server: the pool connects in the
// background and at first use, so that a service may start before its database. Call [Manager.InitializeDatabase] to
// have both the server and its schema checked.
//
// The error is a [*ConfigError], or several of them joined.
func Open(ctx context.Context, config Config) (*Manager, error) {
	managers.Lock()
	defer managers.Unlock()
	return open(ctx, config)
}

// open is called with managers held.
func open(ctx context.Context, config Config) (*Manager, error) {
	config, err := config.validate()
	if err != nil {
		return nil, err
	}
	poolConfig, err := config.poolConfig()
	if err != nil {
		return nil, err
	}
	poolConfig.ConnConfig.Tracer = config.tracer()
	m := &Manager{config: &config, keys: newKeyring(config.EncryptionKeys)}
	m.recovery.searches = poolConfig.ConnConfig.ValidateConnect != nil
	poolConfig.ShouldPing = m.tryIdle
	m.live.conns = make(map[*pgx.Conn]struct{})
	prepare := poolConfig.AfterConnect
	poolConfig.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if prepare != nil {
			if err := prepare(ctx, conn); err != nil {
				return err
			}
		}
		m.live.Lock()
		m.live.conns[conn] = struct{}{}
		m.live.Unlock()
		return nil
	}
	poolConfig.BeforeClose = func(conn *pgx.Conn) {
		m.live.Lock()
		delete(m.live.conns, conn)
		m.live.Unlock()
	}
	m.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), poolConfig)
	if err != nil {
		return nil, operationError("open", err)
	}
	m.notifier, m.feeds = &notifier{pool: m.pool, interval: config.NotifyInterval}, newFeeds(m)
	if managers.open == nil {
		managers.open = make(map[*Manager]struct{})
	}
	managers.open[m] = struct{}{}
	return m, nil
}

// Close refuses new work, waits until the running operations have given their connections back, and closes them. When
// ctx ends first, the statements that still run are cancelled on the server, and connections that do not come back within
// a second of that are cut, which fails their operations; Close then returns the error of ctx. Closing twice is harmless.
func (m *Manager) Close(ctx context.Context) error {
	managers.Lock()
	delete(managers.open, m)
	if managers.fallback == m {
		managers.fallback = nil
	}
	managers.Unlock()
	m.closed.Store(true)

	done := make(chan struct{})
	go func() {
		defer close(done)
		m.feeds.end()
		m.notifier.close()
		m.pool.Close()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	idle := m.pool.Stat().AcquiredConns() == 0
	m.cancelStatements(context.WithoutCancel(ctx), done)
	if idle {
		select {
		case <-done:
			return nil
		default: // a connection that is being made is left to itself
		}
	}
	m.live.Lock()
	for conn := range m.live.conns {
		_ = conn.PgConn().Conn().Close() // the operation that uses it sees the error
	}
	m.live.Unlock()
	return &DatabaseConnectionError{DatabaseError{
		Op: "close", Err: ctx.Err(), Hint: "the operations that were still running have been cut off",
	}}
}

// cancelStatements asks the server to end what runs on the connections of a pool that is being closed, so that nothing goes
// on there and its outcome is known here, and waits a little for them to come back.
func (m *Manager) cancelStatements(ctx context.Context, closed <-chan struct{}) {
	ctx, stop := context.WithTimeout(ctx, closeGrace)
	defer stop()
	var requests sync.WaitGroup
	defer requests.Wait() // PgBouncer 1.18 crashes when a request is given up before it is acknowledged
	m.live.Lock()
	for conn := range m.live.conns {
		requests.Go(func() { _ = conn.PgConn().CancelRequest(ctx) }) // whom it does not reach is cut
	}
	m.live.Unlock()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// NewContext returns a context that carries the manager, for [FromContext], [GetManager] and the package-level functions.
func NewContext(ctx context.Context, m *Manager) context.Context {
	return context.WithValue(ctx, managerKey, m)
}

// FromContext returns the manager that ctx carries, and whether it carries one.
func FromContext(ctx context.Context) (*Manager, bool) {
	m, ok := ctx.Value(managerKey).(*Manager)
	return m, ok && m != nil
}

// GetManager returns the manager that ctx carries, else the default one of the process, which the first call makes from
// the environment (see [ConfigFromEnv]). The error is [ErrNoManager] around what is wrong with the environment.
func GetManager(ctx context.Context) (*Manager, error) {
	if m, ok := FromContext(ctx); ok {
		return m, nil
	}
	managers.Lock()
	defer managers.Unlock()
	if managers.fallback != nil {
		return managers.fallback, nil
	}
	config, err := ConfigFromEnv()
	if err == nil {
		managers.fallback, err = open(ctx, config)
	}
	if err != nil {
		return nil, fmt.Errorf("%w in this context, and the default one cannot be made: %w", ErrNoManager, err)
	}
	return managers.fallback, nil
}

// DisposeManager closes the manager that ctx carries, else the default one; without either it does nothing. A disposed
// manager fails with [ErrManagerClosed]; the default one is opened afresh by the next [GetManager].
func DisposeManager(ctx context.Context) error {
	m, ok := FromContext(ctx)
	if !ok {
		managers.Lock()
		m = managers.fallback
		managers.Unlock()
	}
	if m == nil {
		return nil
	}
	return m.Close(ctx)
}

// DisposeAllManagers closes every manager of the process, side by side, and waits for their running operations.
func DisposeAllManagers() {
	managers.Lock()
	open := make([]*Manager, 0, len(managers.open))
	for m := range managers.open {
		open = append(open, m)
	}
	managers.Unlock()
	var closing sync.WaitGroup
	for _, m := range open {
		closing.Go(func() { _ = m.Close(context.Background()) }) // nothing ends this context
	}
	closing.Wait()
}

// Stats describes the pool at this moment.
type Stats struct {
	MaxConnections  int           `json:"max_connections"`
	OpenConnections int           `json:"open_connections"`
	Idle            int           `json:"idle"`
	InUse           int           `json:"in_use"`
	Acquired        int64         `json:"acquired"`      // connections given out since the start
	Waits           int64         `json:"waits"`         // of these, how many had to wait for a connection
	WaitDuration    time.Duration `json:"wait_duration"` // how long they waited in all, in nanoseconds in JSON
	Canceled        int64         `json:"canceled"`      // waits that ended without a connection
	URL             string        `json:"url"`           // the database URL with the password removed
}

// Stats returns the state of the pool. It asks no server.
func (m *Manager) Stats() Stats {
	stat := m.pool.Stat()
	return Stats{
		MaxConnections:  int(stat.MaxConns()),
		OpenConnections: int(stat.TotalConns()),
		Idle:            int(stat.IdleConns()),
		InUse:           int(stat.AcquiredConns()),
		Acquired:        stat.AcquireCount(),
		Waits:           stat.EmptyAcquireCount(),
		WaitDuration:    stat.EmptyAcquireWaitTime(),
		Canceled:        stat.CanceledAcquireCount(),
		URL:             m.config.redactedURL(),
	}
}

// Format implements [fmt.Formatter]: a manager is its URL without the password. A verb that does not suit a pointer would
// otherwise show what is behind it, the keys included.
func (m *Manager) Format(f fmt.State, verb rune) {
	if m == nil {
		formatRedacted(f, verb, "<nil>", "(*store.Manager)(nil)")
		return
	}
	text := "{url=" + m.config.redactedURL() + "}"
	formatRedacted(f, verb, text, "store.Manager"+text)
}

// query is the way of every operation to the database: it runs fn with the connection that ctx owns (the one of its
// transaction, else one from the pool for this call) and turns what goes wrong into a store error that names operation.
// When the answer is lost, that is ErrOutcomeUnknown.
func query[T any](ctx context.Context, m *Manager, operation string, fn func(db gen.DBTX) (T, error)) (T, error) {
	return run(ctx, m, operation, false, fn)
}

// repeatable is query for what may run a second time without harm: reads, and writes that find what they wrote before.
func repeatable[T any](ctx context.Context, m *Manager, operation string, fn func(db gen.DBTX) (T, error)) (T, error) {
	return run(ctx, m, operation, true, fn)
}

func run[T any](ctx context.Context, m *Manager, operation string, repeatable bool, fn func(db gen.DBTX) (T, error)) (T, error) {
	var result T
	if tx := m.transaction(ctx); tx != nil {
		if err := tx.enter(); err != nil {
			return result, operationError(operation, err)
		}
		defer tx.leave()
		if tx.reader != nil {
			return result, operationError(operation, errTypedAsReader)
		}
		result, err := fn(tx.tx)
		return result, operationError(operation, tx.failed(ctx, err))
	}
	conn, err := m.acquire(ctx)
	if err != nil {
		return result, operationError(operation, err)
	}
	defer conn.Release()
	result, err = fn(conn)
	return result, operationError(operation, m.outcome(ctx, conn.Conn(), repeatable, err))
}

// acquire takes a connection from the pool, waiting for one no longer than the configured timeout.
func (m *Manager) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if m.closed.Load() {
		return nil, ErrManagerClosed
	}
	timeout := m.config.AcquireTimeout
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := m.pool.Acquire(bounded)
	if err == nil {
		return conn, nil
	}
	if m.closed.Load() {
		return nil, ErrManagerClosed
	}
	if !errors.Is(bounded.Err(), context.DeadlineExceeded) { // another timeout, that of connecting, tells more by itself
		return nil, &acquireError{cause: err, text: err.Error(), hint: "check that the server runs and that host and port of DATABASE_URL are right"}
	}
	end := fmt.Sprintf("timed out after %v", timeout)
	if ctx.Err() != nil {
		end = "timed out at the deadline of the context"
	}
	if stat := m.pool.Stat(); stat.AcquiredConns() >= stat.MaxConns() {
		return nil, &acquireError{
			cause: err, text: fmt.Sprintf("%s: all %d connections are in use", end, stat.MaxConns()),
			hint: "use fewer connections at once, or raise POSTGRESQL_POOL_SIZE, DATABASE_MAX_CONNECTIONS or DATABASE_TIMEOUT",
		}
	}
	return nil, &acquireError{cause: err, text: end + ": the server did not answer", hint: "check that the server runs and answers at host and port of DATABASE_URL"}
}

// acquireError marks an error as one of getting a connection, whatever its cause.
type acquireError struct {
	cause error
	text  string
	hint  string // what to do
}

func (e *acquireError) Error() string { return "acquire connection: " + e.text }
func (e *acquireError) Unwrap() error { return e.cause }
