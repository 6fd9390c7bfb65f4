// Package peer runs the same operations on the same tables through different tools: the store of this project, pgx and
// database/sql by hand, sqlx, GORM, bun and ent; and in Python, where it has the packages of requirements.txt, SQLAlchemy.
//
// Each tool is there in two ways. In the way [Statement] it sends the very statement that the store sends and returns the
// rows through its raw interface: the difference to the store is that of the tool. In the way [Own] it does what one
// writes with the tool by its documentation to get the same result and the same guarantees: a transaction where several
// rows belong together, builders and models where the tool has them.
//
// What each returns is the same, as the tests of this package see to. The peers check no input, as the store does, and
// where a read takes two statements they do without the transaction that would make the two see one moment.
package peer

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// Way is how a tool is used.
type Way string

// The ways to use a tool.
const (
	Statement Way = "the same statement"
	Own       Way = "its own way"
)

// The sizes of what the operations return.
const (
	pageSize       = 50
	latestMessages = 50
)

// Peer is a tool with its connections to one database.
type Peer struct {
	Tool string
	Way  Way
	Operations
	close func()
}

// Close gives up the connections.
func (p Peer) Close() { p.close() }

// Operations are what is compared. Their results and errors are those of the methods of the store that they are named
// after. A page has 50 rows.
type Operations interface {
	// AddMessage adds a message without a parent, with its audit row, and returns it with its id and time. The session
	// must exist.
	AddMessage(ctx context.Context, message store.Message) (store.Message, error)
	// AddMessages adds several of one session, all or none.
	AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error)
	// GetMessages returns a page by offset, with the number of visible messages.
	GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error)
	// GetMessagesAfter returns a page behind a cursor.
	GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error)
	// GetSession returns a session with its 50 latest visible messages.
	GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error)
	// SetMemory sets or replaces an entry of global memory, with its audit row, and returns it with its times.
	SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error)
	// GetMemory returns a live entry of global memory.
	GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error)
	// ListMemory returns the first page of the live entries of global memory, by key, without their values.
	ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error)
}

// Timed is implemented by a peer that runs elsewhere and measures itself.
type Timed interface {
	// Elapsed returns how long the latest operation took.
	Elapsed() time.Duration
}

// Open connects all tools to one database, each with at most connections connections. The first is the store.
func Open(ctx context.Context, url string, connections int) (peers []Peer, err error) {
	defer func() {
		if err != nil {
			CloseAll(peers)
		}
	}()
	config := store.Config{URL: url, PoolSize: connections, MaxConnections: connections, MinConnections: -1}
	recorded, err := record(ctx, config)
	if err != nil {
		return nil, err
	}
	add := func(tool string, way Way, operations Operations, closeAll func()) {
		peers = append(peers, Peer{tool, way, operations, closeAll})
	}

	manager, err := store.Open(ctx, config)
	if err != nil {
		return peers, err
	}
	add("store", Own, storeOperations{manager}, func() { _ = manager.Close(context.WithoutCancel(ctx)) })

	pool, err := openPgx(ctx, url, connections)
	if err != nil {
		return peers, err
	}
	add("pgx", Statement, pgxStatement{pool, recorded}, pool.Close)
	add("pgx", Own, pgxOwn{pool}, func() {})

	db, err := openSQL(url, connections)
	if err != nil {
		return peers, err
	}
	add("database/sql", Statement, sqlStatement{db, recorded}, func() { _ = db.Close() })
	add("database/sql", Own, sqlOwn{db}, func() {})

	forSqlx, err := openSQL(url, connections)
	if err != nil {
		return peers, err
	}
	sqlxDB := newSqlx(forSqlx)
	add("sqlx", Statement, scanStatement{recorded, sqlxDB.SelectContext}, func() { _ = sqlxDB.Close() })
	add("sqlx", Own, sqlxOwn{sqlxDB}, func() {})

	forGorm, err := openSQL(url, connections)
	if err != nil {
		return peers, err
	}
	gormDB, err := newGorm(forGorm)
	if err != nil {
		_ = forGorm.Close()
		return peers, err
	}
	add("GORM", Statement, scanStatement{recorded, gormScan(gormDB)}, func() { _ = forGorm.Close() })
	add("GORM", Own, gormOwn{gormDB}, func() {})

	bunDB, err := openBun(url, connections)
	if err != nil {
		return peers, err
	}
	add("bun", Statement, scanStatement{recorded.forBun(), bunScan(bunDB)}, func() { _ = bunDB.Close() })
	add("bun", Own, bunOwn{bunDB}, func() {})

	forEnt, err := openSQL(url, connections)
	if err != nil {
		return peers, err
	}
	entClient := newEnt(forEnt)
	add("ent", Statement, scanStatement{recorded, entScan(entClient)}, func() { _ = entClient.Close() })
	add("ent", Own, entOwn{entClient}, func() {})

	python, closePython, err := openSQLAlchemy(ctx, url, connections)
	if err != nil {
		return peers, err
	}
	if python != nil {
		add(SQLAlchemy, Own, python, closePython)
	}
	return peers, nil
}

// CloseAll closes all peers.
func CloseAll(peers []Peer) {
	for _, p := range peers {
		p.Close()
	}
}
