// Package load fills a database with generated messages by COPY, for measurements at a size that agents would need months
// for. Its sessions carry a mark, by which Remove finds them again.
//
//	report, err := load.Fill(ctx, databaseURL, load.Options{Messages: 10_000_000, Sessions: 10_000})
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const (
	// mark is who created the sessions: no agent has this name, as it is not a valid one.
	mark = "*load*"
	// chunk is how many messages one COPY takes, so that a failure loses little and vacuum can keep up.
	chunk = 100_000
	// connections copy at once; more gain nothing while the server has to maintain the same indexes.
	connections = 2
	// spacing is the time between two messages, the last of which has just been sent.
	spacing = 50 * time.Millisecond
)

// Options are the arguments of [Fill].
type Options struct {
	// Messages is how many to add. Required.
	Messages int
	// Sessions is how many sessions they are spread over evenly. Required.
	Sessions int
	// Seed makes the same texts again.
	Seed uint64
	// Progress is told of messages that were copied, possibly by several goroutines at once; nil means nobody.
	Progress func(messages int)
}

// Report says what was added.
type Report struct {
	Sessions []string // their ids
	Messages int
	Duration time.Duration
}

// Fill adds sessions and messages, 8 of 10 public, the others private, agent_only and few admin_only. No index is dropped:
// it may run beside services. Messages carry no audit rows. What was copied before an error stays, to be removed by [Remove].
func Fill(ctx context.Context, url string, options Options) (Report, error) {
	if options.Messages < 1 || options.Sessions < 1 {
		return Report{}, errors.New("load: the numbers of messages and of sessions must be at least 1")
	}
	start := time.Now()
	first := start.Add(-time.Duration(options.Messages) * spacing)
	report := Report{Messages: options.Messages}
	if err := withConn(ctx, url, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			INSERT INTO sessions (id, purpose, created_by, created_at, updated_at)
			SELECT 'session_' || substring(replace(gen_random_uuid()::text, '-', '') FOR 16), 'generated messages', $1, $2, $2
			FROM generate_series(1, $3::integer)
			RETURNING id`, mark, first, options.Sessions)
		if err != nil {
			return err
		}
		report.Sessions, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}); err != nil {
		return report, fmt.Errorf("load: add sessions: %w", err)
	}

	group, copying := errgroup.WithContext(ctx)
	chunks := make(chan int)
	group.Go(func() error {
		defer close(chunks)
		for from := 0; from < options.Messages; from += chunk {
			select {
			case chunks <- from:
			case <-copying.Done():
				return copying.Err()
			}
		}
		return nil
	})
	for range connections {
		group.Go(func() error {
			return withConn(copying, url, func(conn *pgx.Conn) error {
				for from := range chunks {
					source := newSource(options, report.Sessions, first, from, min(from+chunk, options.Messages))
					if _, err := conn.CopyFrom(copying, pgx.Identifier{"messages"}, columns, source); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return report, fmt.Errorf("load: copy messages: %w", err)
	}
	err := withConn(ctx, url, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "VACUUM (ANALYZE) messages, sessions") // else the first measurements do its work
		return err
	})
	report.Duration = time.Since(start)
	return report, err
}

// Remove deletes all sessions that Fill has added, with their messages, and returns how many.
func Remove(ctx context.Context, url string) (sessions int64, err error) {
	err = withConn(ctx, url, func(conn *pgx.Conn) error {
		for {
			tag, err := conn.Exec(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE created_by = $1 LIMIT 100)`, mark)
			if err != nil {
				return fmt.Errorf("load: remove sessions: %w", err)
			}
			if tag.RowsAffected() == 0 {
				return nil
			}
			sessions += tag.RowsAffected()
		}
	})
	return sessions, err
}

// withConn calls fn with a connection of its own, without a limit on the time of a statement.
func withConn(ctx context.Context, url string, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing hangs on it
	if _, err := conn.Exec(ctx, "SET statement_timeout = 0"); err != nil {
		return err
	}
	return fn(conn)
}

var columns = []string{"session_id", "sender", "sender_type", "content", "visibility", "metadata", "timestamp"}

// source generates the messages from one number up to another.
type source struct {
	options  Options
	sessions []string
	first    time.Time
	random   *rand.Rand
	next, to int
	values   []any
}

func newSource(options Options, sessions []string, first time.Time, from, to int) *source {
	return &source{
		options: options, sessions: sessions, first: first, next: from, to: to,
		random: rand.New(rand.NewPCG(options.Seed, uint64(from))), values: make([]any, len(columns)),
	}
}

var (
	senderTypes  = []string{"claude", "gemini", "generic"}
	visibilities = []string{
		"public", "public", "public", "public", "public", "public", "public", "public", "private", "agent_only",
	}
	words = []string{
		"the", "lexer", "splits", "statement", "in", "one", "pass", "and", "allocates", "nothing", "review", "parser", "fails", "on",
		"index", "of", "message", "agent", "session", "gauge", "forecast", "harbour", "tide", "table", "found", "cause", "proposed", "fix",
	}
)

// Next implements [pgx.CopyFromSource].
func (s *source) Next() bool {
	if s.next == s.to {
		return false
	}
	if s.options.Progress != nil && (s.next+1)%1000 == 0 {
		s.options.Progress(1000)
	}
	agent := s.random.IntN(20)
	visibility := visibilities[s.random.IntN(len(visibilities))]
	if s.random.IntN(100) == 0 {
		visibility = "admin_only"
	}
	content := make([]byte, 0, 200)
	for range 10 + s.random.IntN(20) {
		content = append(append(content, words[s.random.IntN(len(words))]...), ' ')
	}
	// The number makes no two texts the same and ends them with no space.
	content = fmt.Appendf(content, "%d", s.next)
	s.values[0], s.values[1], s.values[2] = s.sessions[s.next%len(s.sessions)], fmt.Sprintf("agent_%d", agent), senderTypes[agent%len(senderTypes)]
	s.values[3], s.values[4], s.values[5] = string(content), visibility, fmt.Sprintf(`{"number": %d}`, s.next)
	s.values[6] = s.first.Add(time.Duration(s.next+1) * spacing)
	s.next++
	return true
}

// Values implements [pgx.CopyFromSource].
func (s *source) Values() ([]any, error) { return s.values, nil }

// Err implements [pgx.CopyFromSource]: generating does not fail.
func (s *source) Err() error { return nil }
