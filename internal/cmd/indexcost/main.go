// Command indexcost measures, in the database that DATABASE_URL names, what each index costs the operations that write to
// its table: the bytes of the write-ahead log and the time of a call, with the index and without. It prints Markdown.
//
// Every measurement runs in a transaction that drops the index, calls the operation and is taken back, so that the
// database stays as it was but for gaps in its sequences. Its tables are locked meanwhile: use a database of your own,
// filled before, as a small index costs less than a large one.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// errTakeBack ends a transaction that has been measured.
var errTakeBack = errors.New("measured")

// writer is an operation that writes to a table.
type writer struct {
	table, name string
	call        func(ctx context.Context, m *store.Manager, session string, n int) error
}

var writers = []writer{
	{"messages", "AddMessage", func(ctx context.Context, m *store.Manager, session string, n int) error {
		_, err := m.AddMessage(ctx, session, store.NewMessage{
			Sender: fmt.Sprintf("agent_%d", n%20), SenderType: "claude", Content: "The lexer splits the statement in one pass and allocates nothing.",
			Metadata: json.RawMessage(fmt.Sprintf(`{"commit":"5620728b80f7","lines":%d,"urgent":false}`, n)),
		})
		return err
	}},
	{"audit_log", "AppendAudit", func(ctx context.Context, m *store.Manager, session string, n int) error {
		_, err := m.AppendAudit(ctx, store.AppendAuditParams{
			EventType: "checked", AgentID: fmt.Sprintf("agent_%d", n%20), SessionID: session, Metadata: map[string]any{"number": n},
		})
		return err
	}},
	{"agent_memory", "SetMemory", func(ctx context.Context, m *store.Manager, _ string, n int) error {
		_, err := m.SetMemory(ctx, store.SetMemoryParams{
			AgentID: fmt.Sprintf("agent_%d", n%20), Key: fmt.Sprintf("key_%d", n), Value: "a short value", Metadata: map[string]any{"number": n}, TTL: time.Hour,
		})
		return err
	}},
	{"sessions", "CreateSession", func(ctx context.Context, m *store.Manager, _ string, n int) error {
		_, err := m.CreateSession(ctx, store.CreateSessionParams{
			Purpose: "measured", CreatedBy: fmt.Sprintf("agent_%d", n%20), Metadata: map[string]any{"number": n},
		})
		return err
	}},
	{"secure_tokens", "CreateToken", func(ctx context.Context, m *store.Manager, _ string, n int) error {
		_, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: fmt.Sprintf("agent_%d", n%20), JWT: "a short token"})
		return err
	}},
}

func main() {
	calls := flag.Int("calls", 500, "calls of each measurement")
	rounds := flag.Int("rounds", 5, "measurements of each index, with it and without in turn")
	trigrams := flag.Bool("trigrams", false, "also measure a search index that would hold every message as it comes, which is made for this")
	flag.Parse()
	if err := run(context.Background(), *calls, *rounds, *trigrams); err != nil {
		fmt.Fprintln(os.Stderr, "indexcost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, calls, rounds int, trigrams bool) (err error) {
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	if len(config.EncryptionKeys) == 0 {
		config.EncryptionKeys = []store.Secret{"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="} // for tokens that are taken back
	}
	config.StatementTimeout = -1 // an index is built
	m, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	ctx = store.NewContext(ctx, m)
	if trigrams {
		for _, statement := range []string{
			"CREATE EXTENSION IF NOT EXISTS pg_trgm",
			"CREATE INDEX all_messages_trigrams ON messages USING gin (message_search_text(sender, content, metadata) gin_trgm_ops)",
		} {
			if _, err := store.ExecuteUpdate(ctx, statement); err != nil {
				return err
			}
		}
		defer func() {
			_, dropErr := store.ExecuteUpdate(ctx, "DROP INDEX all_messages_trigrams")
			err = errors.Join(err, dropErr)
		}()
	}
	fmt.Println("| index | operation | bytes of index per row | WAL bytes per call | of these the index | of the time |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, w := range writers {
		// The indexes of keys and constraints are no choice.
		indexes, err := store.ExecuteQuery(ctx, `
			SELECT c.relname AS name, CASE WHEN t.reltuples >= 1000 THEN (pg_relation_size(c.oid) / t.reltuples)::bigint::text ELSE 'few rows' END AS size
			FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
			WHERE i.indrelid = ?::regclass AND NOT i.indisunique ORDER BY c.relname`, w.table)
		if err != nil {
			return err
		}
		for _, index := range indexes {
			name := index["name"].(string)
			var with, without []cost
			for range rounds {
				for _, drop := range []string{"", name} {
					c, err := w.measure(ctx, m, drop, calls)
					if err != nil {
						return fmt.Errorf("%s without %q: %w", w.name, drop, err)
					}
					if drop == "" {
						with = append(with, c)
					} else {
						without = append(without, c)
					}
				}
			}
			a, b := median(with), median(without)
			fmt.Printf("| %s | %s | %v | %d | %d (%.0f %%) | %.0f %% |\n", name, w.name, index["size"], a.wal, a.wal-b.wal,
				100*float64(a.wal-b.wal)/float64(a.wal), 100*float64(a.time-b.time)/float64(a.time))
		}
	}
	return nil
}

// cost is what one call costs.
type cost struct {
	wal  int64 // bytes
	time time.Duration
}

// median takes each part of the cost by itself.
func median(costs []cost) cost {
	middle := len(costs) / 2
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.wal, b.wal) })
	wal := costs[middle].wal
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.time, b.time) })
	return cost{wal, costs[middle].time}
}

// measure calls the operation in a transaction without the index drop, if any, and takes all of it back.
func (w writer) measure(ctx context.Context, m *store.Manager, drop string, calls int) (cost, error) {
	var measured cost
	err := m.InTx(ctx, func(ctx context.Context) error {
		if drop != "" {
			if _, err := store.ExecuteUpdate(ctx, "DROP INDEX "+drop); err != nil {
				return err
			}
		}
		session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "measured", CreatedBy: "indexcost"})
		if err != nil {
			return err
		}
		for n := range 20 { // plans are made, the first pages read
			if err := w.call(ctx, m, session.ID, n); err != nil {
				return err
			}
		}
		before, err := walPosition(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		for n := range calls {
			if err := w.call(ctx, m, session.ID, 20+n); err != nil {
				return err
			}
		}
		measured.time = time.Since(start) / time.Duration(calls)
		after, err := walPosition(ctx)
		measured.wal = (after - before) / int64(calls)
		return errors.Join(err, errTakeBack)
	})
	if errors.Is(err, errTakeBack) {
		err = nil
	}
	return measured, err
}

// walPosition returns how many bytes of the log have been written.
func walPosition(ctx context.Context) (int64, error) {
	rows, err := store.ExecuteQuery(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS bytes")
	if err != nil {
		return 0, err
	}
	return rows[0]["bytes"].(int64), nil
}
